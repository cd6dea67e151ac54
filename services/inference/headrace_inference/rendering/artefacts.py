"""What one deployment renders to, for whoever wants to see, check or carry it: files, command lines, or both."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from google.protobuf import text_format
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from tritonclient.grpc import model_config_pb2 as pb

from headrace_inference.rendering import llamacpp, schemas
from headrace_inference.rendering.commands import Command, Secret
from headrace_inference.rendering.model import Rendered
from headrace_inference.rendering.places import Files, Places
from headrace_inference.rendering.sglang import sglang_command
from headrace_inference.rendering.tgi import tgi_command
from headrace_inference.rendering.triton import render_deployment
from headrace_inference.rendering.vllm import nim_command, vllm_command
from headrace_kit.config.deployments import LlamaCppDeployment, ServerDeployment, on_triton
from headrace_kit.config.document import Config
from headrace_kit.config.nearest import nearest
from headrace_kit.errors import BadInput, NotFound

Load = Callable[[Path], list[str]]
"""Starts a real Triton on a model repository, loads every model and says what did not load."""

ON_CPU = ("triton-llamacpp", "triton-python", "triton-scripted")
"""Engines that a Triton without GPUs can load."""

_COMMANDS = {"vllm": vllm_command, "nim": nim_command, "sglang": sglang_command, "tgi": tgi_command}


@dataclass(frozen=True, slots=True)
class Artefacts:
    """What a deployment renders to.

    Attributes:
        name: the deployment.
        engine: its engine.
        models: of a Triton model repository.
        commands: servers to start.
        settings: of the engine inside the inference service, as JSON; empty for other engines.
    """

    name: str
    engine: str
    models: tuple[Rendered, ...] = ()
    commands: tuple[Command, ...] = ()
    settings: str = ""

    def files(self) -> dict[str, str]:
        """Relative path -> text of everything, command lines as shell scripts."""
        found: dict[str, str] = {}
        for model in self.models:
            found[f"{model.name}/config.pbtxt"] = model.config_text
            found |= {f"{model.name}/1/{path}": text for path, text in model.files.items()}
        for command in self.commands:
            found[f"{command.name}.sh"] = command.shell()
        if self.settings:
            found[f"{self.name}/settings.json"] = self.settings
        return found

    def write(self, out: Path) -> list[Path]:
        """Write all files below a folder, and return their paths. Models become a repository that Triton can load."""
        for model in self.models:
            model.write(out)
        written = []
        for relative, text in self.files().items():
            path = out / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
            written.append(path)
        return written


def artefacts(config: Config, name: str, files: Files, models_dir: str | PurePosixPath | None = None) -> Artefacts:
    """Render one deployment.

    Args:
        config: the platform's config.
        name: the deployment.
        files: the catalogue's files that are on this machine; may be empty where `models_dir` is given.
        models_dir: folder on the machine that this is for which holds `<entry>/<file>`, for example `/models`.
            None: this machine.

    Raises:
        NotFound: no such deployment.
        BadInput: nothing of it runs on our machines, or its files are not what the config says.
        NotReady: its files are not on this machine, and no `models_dir` is given.
    """
    deployment = config.deployments.get(name)
    if deployment is None:
        raise NotFound(f"there is no deployment {name!r}{nearest(name, config.deployments)}", param="deployments")
    places = Places(files, config.catalogue, PurePosixPath(models_dir) if models_dir is not None else None)
    if on_triton(deployment):
        return Artefacts(name, deployment.engine, models=render_deployment(name, deployment, places))
    if isinstance(deployment, ServerDeployment):
        make = _COMMANDS[deployment.engine]
        kinds = (False, True) if deployment.plain_address else (False,)
        commands = tuple(make(name, deployment, places, plain=plain) for plain in kinds)
        return Artefacts(name, deployment.engine, commands=commands)
    if isinstance(deployment, LlamaCppDeployment):
        settings = json.dumps(llamacpp.settings(name, deployment, places), indent=1) + "\n"
        return Artefacts(name, deployment.engine, settings=settings)
    raise BadInput(
        f"deployments.{name} is a model of a hosted provider: there is nothing to render",
        param=f"deployments.{name}.engine",
    )


def check(rendered: Artefacts, load: Load | None = None) -> list[str]:
    """What the engine would refuse, each with where; empty: nothing was found.

    Args:
        rendered: what to check, against Triton's protobuf and the engines' own schemas.
        load: called with a repository of the models where a Triton without GPUs can load them.
    """
    found = [problem for model in rendered.models for problem in _model_problems(model)]
    for command in rendered.commands:
        argv = tuple(word for word in command.argv if not isinstance(word, Secret))
        server = "vllm" if rendered.engine == "nim" else rendered.engine
        found += [f"{command.name}: {rendered.engine} has no {flag}" for flag in schemas.unknown_flags(server, argv)]
    if load is not None and rendered.engine in ON_CPU and not found:
        with tempfile.TemporaryDirectory(prefix="headrace-check-") as folder:
            for model in rendered.models:
                model.write(Path(folder))
            found += load(Path(folder))
    return found


def _model_problems(model: Rendered) -> Iterator[str]:
    where = f"{model.name}/config.pbtxt"
    try:
        config = text_format.Parse(model.config_text, pb.ModelConfig())
    except text_format.ParseError as error:
        yield f"{where}: {error}"
        return
    if config.name != model.name:
        yield f"{where}: name is {config.name!r}, but the folder is {model.name!r}"
    if not (config.backend or config.platform):
        yield f"{where}: neither backend nor platform"
    for kind, entries in (("input", config.input), ("output", config.output)):
        names = [entry.name for entry in entries]
        for twice in {name for name in names if names.count(name) > 1}:
            yield f"{where}: {kind} {twice!r} is there twice"
        for entry in entries:
            if not entry.dims or any(size == 0 or size < -1 for size in entry.dims):
                yield f"{where}: {kind} {entry.name!r} has dims {list(entry.dims)}"
    if config.max_batch_size == 0 and config.HasField("dynamic_batching"):
        yield f"{where}: dynamic_batching without max_batch_size"
    for path, text in model.files.items():
        yield from (f"{model.name}/1/{path}: {problem}" for problem in _file_problems(config.backend, path, text))


def _file_problems(backend: str, path: str, text: str) -> Iterator[str]:
    if path.endswith(".py"):
        try:
            compile(text, path, "exec")
        except SyntaxError as error:
            yield str(error)
    elif path.endswith(".yaml"):
        try:
            yield from schemas.llm_args_problems(YAML(typ="safe").load(io.StringIO(text)))
        except YAMLError as error:
            yield str(error)
    elif path.endswith(".json"):
        try:
            document = json.loads(text)
        except ValueError as error:
            yield str(error)
            return
        if backend == "vllm" and path == "model.json":
            yield from (f"vLLM's engine has no {key}" for key in schemas.unknown_engine_arguments(document))
