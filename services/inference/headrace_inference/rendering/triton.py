"""A Triton model repository from `deployments:`; each deployment becomes a model of the same name.

<out>/<deployment>/config.pbtxt   checked against Triton's own protobuf by being made from it
<out>/<deployment>/<version>/     what the backend reads, see the module of each backend
<out>/<deployment>-plain/         the instance without speculation, where the deployment asks for one
"""

from __future__ import annotations

from pathlib import Path

from headrace_inference.rendering import repository
from headrace_inference.rendering.machine import Machine, require_gpus
from headrace_inference.rendering.model import Rendered
from headrace_inference.rendering.places import Files, Places
from headrace_inference.rendering.python_backend import llamacpp_model, onnx_model, scripted_model
from headrace_inference.rendering.tensorrtllm import tensorrtllm_model
from headrace_inference.rendering.vllm import triton_vllm_model
from headrace_kit.config.deployments import (
    BaseDeployment,
    LlamaCppDeployment,
    OnnxDeployment,
    ScriptedDeployment,
    TritonGpuDeployment,
    on_triton,
)
from headrace_kit.config.document import Config
from headrace_kit.errors import BadInput


def render(config: Config, out: Path, files: Files, machine: Machine | None = None) -> list[str]:
    """Write a model repository with every deployment that runs on Triton; models that are no longer wanted go.

    A model that renders to what its newest version holds keeps that version; another gets the next number. Call it
    while Triton is down, or load what it returns afterwards.

    Args:
        config: the platform's config.
        out: folder of the repository; made if missing. Models in it that were not made by this stay.
        files: where the catalogue's files are, see `catalogue.pull`.
        machine: what Triton will run on, to refuse what needs GPUs that are not there. None: another machine, unseen.

    Returns:
        Names of the models.

    Raises:
        BadInput: a deployment needs a file that its catalogue entry does not have, or GPUs that are not there.
        NotReady: a file is not on this machine.
    """
    places = Places(files, config.catalogue)
    wanted: dict[str, Rendered] = {}
    for name, deployment in config.deployments.items():
        if not on_triton(deployment):
            continue
        if machine is not None:
            require_gpus(name, deployment, machine)
        for model in render_deployment(name, deployment, places):
            if model.name in wanted or (model.name != name and model.name in config.deployments):
                raise BadInput(
                    f"deployments.{model.name}: the name is taken by the plain instance of {name!r}",
                    param=f"deployments.{model.name}",
                )
            wanted[model.name] = model
    out.mkdir(parents=True, exist_ok=True)
    for folder in out.iterdir():
        if folder.name not in wanted:
            repository.remove(out, folder.name)
    for model in wanted.values():
        if repository.differs(out, model):
            repository.write_next(out, model)
        repository.prune(out, model.name)
    return sorted(wanted)


def render_deployment(name: str, deployment: BaseDeployment, places: Places) -> tuple[Rendered, ...]:
    """A deployment's models: one, or two where it has a plain instance. For errors see `render`.

    Raises:
        BadInput: it does not run on Triton.
    """
    if isinstance(deployment, LlamaCppDeployment) and on_triton(deployment):
        return (llamacpp_model(name, deployment, places),)
    if isinstance(deployment, TritonGpuDeployment):
        make = tensorrtllm_model if deployment.engine == "triton-tensorrtllm" else triton_vllm_model
        kinds = (False, True) if deployment.plain_instance else (False,)
        return tuple(make(name, deployment, places, plain=plain) for plain in kinds)
    if isinstance(deployment, OnnxDeployment):
        return (onnx_model(name, deployment, places),)
    if isinstance(deployment, ScriptedDeployment):
        return (scripted_model(name, deployment),)
    raise BadInput(f"deployments.{name} does not run on Triton", param=f"deployments.{name}.engine")
