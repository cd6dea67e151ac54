"""Triton's entry point: NVIDIA's model for TensorRT-LLM's LLM API, from the container; model.yaml says what it loads.

Triton's TensorRT-LLM containers have it at `LLMAPI`. Where another release of it is wanted than the container's, put
triton_backend/all_models/llmapi of that TensorRT-LLM into the image and name its folder in HEADRACE_LLMAPI.
"""

import importlib.util
import os
import sys
from pathlib import Path

LLMAPI = "/app/all_models/llmapi/tensorrt_llm/1"


def _nvidia():
    folder = Path(os.environ.get("HEADRACE_LLMAPI", LLMAPI))
    path = folder / "model.py"
    if not path.is_file():
        raise RuntimeError(
            "there is no TensorRT-LLM model at %s: this needs Triton's trtllm container, or the folder with model.py "
            "and helpers.py in HEADRACE_LLMAPI" % path
        )
    sys.path.insert(0, str(folder))  # it imports `helpers` from beside itself
    spec = importlib.util.spec_from_file_location("tensorrt_llm_llmapi_model", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


TritonPythonModel = _nvidia().TritonPythonModel
