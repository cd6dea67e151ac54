"""A Triton model repository from `deployments:`; each deployment becomes a model of the same name.

<out>/<deployment>/config.pbtxt       checked against Triton's own protobuf by being made from it
<out>/<deployment>/1/model.py         Triton's entry point
<out>/<deployment>/1/triton_models/   our python-backend code: the model's package and what models share
<out>/<deployment>/1/settings.json    what the code needs to know; paths of weights are absolute
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from headrace_kit.config.deployments import (
    Deployment,
    LlamaCppDeployment,
    OnnxDeployment,
    ScriptedDeployment,
    on_triton,
)
from headrace_kit.config.document import Config
from headrace_kit.errors import BadInput

Files = Mapping[str, Mapping[str, Path]]
"""Paths of downloaded files: catalogue entry -> file name -> path."""

BATCH_TOKENS = 64
"""Prompt tokens that llama.cpp reads in one go on a CPU: more gains little and makes a cancel wait."""

PROMPT_CACHE_MIB = 64
"""Memory in which llama.cpp keeps prefixes of idle slots."""

MAX_BATCH = 64
"""Rows that Triton puts into one execution of a text model."""

_QUEUE_DELAY_US = 500
_MODELS = {"embed": "embedder", "rerank": "reranker"}
"""Subpackages of `triton_models` by task; `shared` goes with each."""

_ENTRY = """\
\"""Triton's entry point.\"""

from triton_models.{model}.model import TritonPythonModel

__all__ = ["TritonPythonModel"]
"""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One model of the repository, before it is written."""

    name: str
    config: pb.ModelConfig
    settings: Mapping[str, Any]
    model: str
    """Subpackage of `triton_models` that runs it."""

    def write(self, out: Path) -> None:
        """Write it as `out/<name>`, replacing what is there."""
        folder = out / self.name
        shutil.rmtree(folder, ignore_errors=True)
        version = folder / "1"
        version.mkdir(parents=True)
        (folder / "config.pbtxt").write_text(text_format.MessageToString(self.config), encoding="utf-8")
        (version / "settings.json").write_text(json.dumps(self.settings, indent=1) + "\n", encoding="utf-8")
        (version / "model.py").write_text(_ENTRY.format(model=self.model), encoding="utf-8")
        package = resources.files("headrace_inference") / "triton_models"
        code = version / "triton_models"
        code.mkdir()
        _copy(package, code)
        for part in (self.model, "shared"):
            (code / part).mkdir()
            _copy(package / part, code / part)


def render(config: Config, out: Path, files: Files) -> list[str]:
    """Write a model repository with every deployment that runs on Triton; models that are no longer wanted go.

    Args:
        out: folder of the repository; made if missing. It must hold nothing but model repositories made by this.
        files: where the catalogue's files are, see `catalogue.pull`.

    Returns:
        Names of the models.

    Raises:
        BadInput: a deployment needs a file that its catalogue entry does not have.
    """
    rendered = [
        render_deployment(name, deployment, files)
        for name, deployment in config.deployments.items()
        if on_triton(deployment)
    ]
    out.mkdir(parents=True, exist_ok=True)
    wanted = {model.name for model in rendered}
    for folder in out.iterdir():
        if folder.name not in wanted and (folder / "1" / "settings.json").is_file():
            shutil.rmtree(folder)
    for model in rendered:
        model.write(out)
    return sorted(wanted)


def render_deployment(name: str, deployment: Deployment, files: Files) -> Rendered:
    """One deployment's model, see `render`."""
    if isinstance(deployment, LlamaCppDeployment):
        return Rendered(name, _decoupled(name), _llamacpp(deployment, files), "llamacpp")
    if isinstance(deployment, ScriptedDeployment):
        settings = {
            "context_tokens": deployment.context_tokens,
            "max_output_tokens": deployment.max_output_tokens,
            "max_in_flight": deployment.max_in_flight,
        }
        return Rendered(name, _decoupled(name), settings, "scripted")
    return Rendered(name, _batched(name, deployment), _onnx(deployment, files), _MODELS[deployment.task])


def _copy(source: Traversable, target: Path) -> None:
    """The modules that stand directly in a folder."""
    for file in source.iterdir():
        if file.name.endswith(".py"):
            (target / file.name).write_bytes(file.read_bytes())


def _llamacpp(deployment: LlamaCppDeployment, files: Files) -> dict[str, Any]:
    speculation = deployment.speculation
    return {
        "model": str(_file(files, deployment.model, ".gguf")),
        "context_tokens": deployment.context_tokens,
        "slots": deployment.slots,
        "threads": deployment.threads,
        "max_output_tokens": deployment.max_output_tokens,
        "max_in_flight": deployment.max_in_flight,
        "batch_tokens": BATCH_TOKENS,
        "prompt_cache_mib": PROMPT_CACHE_MIB,
        "speculation": (
            None
            if speculation.method == "none"
            else {"method": speculation.method, "max_draft_tokens": speculation.max_draft_tokens}
        ),
    }


def _onnx(deployment: OnnxDeployment, files: Files) -> dict[str, Any]:
    return {
        "model": str(_file(files, deployment.model, ".onnx")),
        "tokenizer": str(_file(files, deployment.model, "tokenizer.json")),
        "max_input_tokens": deployment.max_input_tokens,
        "dimensions": deployment.dimensions,
        "threads": deployment.threads,
    }


def _file(files: Files, entry: str, ending: str) -> Path:
    for name, path in files.get(entry, {}).items():
        if name.endswith(ending):
            return path.resolve()
    raise BadInput(f"catalogue entry {entry!r} has no file that ends in {ending!r}", param=f"catalogue.{entry}.files")


def _decoupled(name: str) -> pb.ModelConfig:
    """Config of a model that streams: one JSON request in, JSON chunks out."""
    return pb.ModelConfig(
        name=name,
        backend="python",
        max_batch_size=0,
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=True),
        input=[pb.ModelInput(name="request", data_type=pb.TYPE_STRING, dims=[1])],
        output=[pb.ModelOutput(name="chunk", data_type=pb.TYPE_STRING, dims=[1])],
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)],
    )


def _batched(name: str, deployment: OnnxDeployment) -> pb.ModelConfig:
    """Config of a model over rows of text, which Triton batches across requests."""
    if deployment.task == "embed":
        inputs = [("text", pb.TYPE_STRING), ("truncate", pb.TYPE_BOOL)]
        outputs = [("embedding", pb.TYPE_FP32, deployment.dimensions), ("tokens", pb.TYPE_INT32, 1)]
    else:
        inputs = [("query", pb.TYPE_STRING), ("document", pb.TYPE_STRING)]
        outputs = [("score", pb.TYPE_FP32, 1), ("tokens", pb.TYPE_INT32, 1)]
    return pb.ModelConfig(
        name=name,
        backend="python",
        max_batch_size=MAX_BATCH,
        input=[pb.ModelInput(name=field, data_type=kind, dims=[1]) for field, kind in inputs],
        output=[pb.ModelOutput(name=field, data_type=kind, dims=[size]) for field, kind, size in outputs],
        dynamic_batching=pb.ModelDynamicBatching(max_queue_delay_microseconds=_QUEUE_DELAY_US),
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)],
    )
