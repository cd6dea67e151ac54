"""Models in Triton's Python backend, whose code is ours: llama.cpp, ONNX models over texts, the scripted model.

<version>/model.py         Triton's entry point
<version>/triton_models/   the model's package and what models share
<version>/settings.json    what the code needs to know; paths of weights are absolute
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from headrace_inference.rendering import llamacpp
from headrace_inference.rendering.model import Rendered, newest_only
from headrace_inference.rendering.places import Places
from headrace_kit.config.deployments import LlamaCppDeployment, OnnxDeployment, ScriptedDeployment

MAX_BATCH = 64
"""Rows that Triton puts into one execution of a text model."""

_QUEUE_DELAY_US = 500
_PACKAGE = {"embed": "embedder", "rerank": "reranker", "classify": "classifier"}
"""Subpackages of `triton_models` by task; `shared` goes with each."""

_ENTRY = """\
\"""Triton's entry point.\"""

from triton_models.{package}.model import TritonPythonModel

__all__ = ["TritonPythonModel"]
"""


def llamacpp_model(name: str, deployment: LlamaCppDeployment, places: Places) -> Rendered:
    """A language model on llama.cpp; for errors see `llamacpp.settings`."""
    return _rendered(_streaming(name), "llamacpp", llamacpp.settings(name, deployment, places))


def scripted_model(name: str, deployment: ScriptedDeployment) -> Rendered:
    """The model that says what it is told to."""
    settings = {
        "context_tokens": deployment.context_tokens,
        "max_output_tokens": deployment.max_output_tokens,
        "max_in_flight": deployment.max_in_flight,
    }
    return _rendered(_streaming(name), "scripted", settings)


def onnx_model(name: str, deployment: OnnxDeployment, places: Places) -> Rendered:
    """An embedding model, cross-encoder or classifier.

    Raises:
        BadInput: its entry lacks `model.onnx` or `tokenizer.json`.
        NotReady: a file is not on this machine.
    """
    settings: dict[str, Any] = {
        "model": places.path(deployment.model, ".onnx"),
        "tokenizer": places.path(deployment.model, "tokenizer.json"),
        "max_input_tokens": deployment.max_input_tokens,
        "dimensions": deployment.dimensions,
        "threads": deployment.threads,
    }
    if deployment.task == "classify":
        settings |= {"labels": list(deployment.labels), "multi_label": deployment.multi_label}
    return _rendered(_batched(name, deployment), _PACKAGE[deployment.task], settings)


def _rendered(config: pb.ModelConfig, package: str, settings: Mapping[str, Any]) -> Rendered:
    files = {
        "model.py": _ENTRY.format(package=package),
        "settings.json": json.dumps(settings, indent=1) + "\n",
        **dict(_code(package)),
    }
    return Rendered(config.name, config, files)


def _code(package: str) -> Iterator[tuple[str, str]]:
    """Whole folders, so that a module that is added comes along."""
    root = resources.files("headrace_inference") / "triton_models"
    for part in ((), (package,), ("shared",)):
        for file in root.joinpath(*part).iterdir():
            if file.name.endswith(".py"):
                yield "/".join(("triton_models", *part, file.name)), file.read_text(encoding="utf-8")


def _streaming(name: str) -> pb.ModelConfig:
    """Config of a model that streams: one JSON request in, JSON chunks out."""
    return pb.ModelConfig(
        name=name,
        backend="python",
        max_batch_size=0,
        version_policy=newest_only(),
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=True),
        input=[pb.ModelInput(name="request", data_type=pb.TYPE_STRING, dims=[1])],
        output=[pb.ModelOutput(name="chunk", data_type=pb.TYPE_STRING, dims=[1])],
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)],
    )


def _batched(name: str, deployment: OnnxDeployment) -> pb.ModelConfig:
    """Config of a model over rows of text, which Triton batches across requests."""
    if deployment.task == "rerank":
        inputs = [("query", pb.TYPE_STRING), ("document", pb.TYPE_STRING)]
        made = ("score", 1)
    elif deployment.task == "classify":
        inputs = [("text", pb.TYPE_STRING)]
        made = ("scores", len(deployment.labels))
    else:
        inputs = [("text", pb.TYPE_STRING), ("truncate", pb.TYPE_BOOL)]
        made = ("embedding", deployment.dimensions or 0)
    outputs = [(made[0], pb.TYPE_FP32, made[1]), ("tokens", pb.TYPE_INT32, 1)]
    return pb.ModelConfig(
        name=name,
        backend="python",
        max_batch_size=MAX_BATCH,
        version_policy=newest_only(),
        input=[pb.ModelInput(name=field, data_type=kind, dims=[1]) for field, kind in inputs],
        output=[pb.ModelOutput(name=field, data_type=kind, dims=[size]) for field, kind, size in outputs],
        dynamic_batching=pb.ModelDynamicBatching(max_queue_delay_microseconds=_QUEUE_DELAY_US),
        instance_group=[pb.ModelInstanceGroup(kind=pb.ModelInstanceGroup.KIND_CPU, count=1)],
    )
