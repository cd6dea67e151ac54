"""`headrace models render`: what engines read, made from deployments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli._config_file import part
from headrace.cli._failures import Failure
from headrace.cli._output import print_json
from headrace.cli._target import Json
from headrace.cli.models_files import Config, Progress, read_config

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTED = ("litellm", "openai")


def add_to(app: typer.Typer) -> None:
    """Add this command to `headrace models`."""
    app.command()(render)


def render(
    deployments: Annotated[list[str] | None, typer.Argument(help="Default: all that run on machines of yours.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to: Triton's model repository, or scripts that start servers.")
    ] = None,
    models_dir: Annotated[
        str | None,
        typer.Option(help="Where the machine that this is for has <entry>/<file>. Default: this machine's cache."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Ask the engine's own schema; exits with 1 where it would refuse.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make what engines read: a Triton model repository, or a server's command line. Without --out it is printed.

    Files that are needed to look into are fetched first, unless --models-dir says that they are elsewhere.

    Example: headrace models render small --out build/models --check
    """
    rendering = part("headrace_inference.rendering.artefacts")
    snapshot, env = read_config(config)
    configured = snapshot.config.deployments
    names = deployments or [name for name, wanted in configured.items() if wanted.engine not in HOSTED]
    files = _files(snapshot, env, names, models_dir, as_json)
    made = [rendering.artefacts(snapshot.config, name, files, models_dir) for name in names]
    written = {one.name: [str(path) for path in one.write(out)] if out is not None else [] for one in made}
    # What is for another machine cannot be loaded on this one.
    load = _loader() if check and models_dir is None else None
    problems = {one.name: rendering.check(one, load) if check else [] for one in made}
    if as_json:
        print_json(
            [
                {
                    "deployment": one.name,
                    "engine": one.engine,
                    "files": written[one.name] if out is not None else one.files(),
                    "checked": _checked(rendering, one, load) if check else None,
                    "problems": problems[one.name],
                }
                for one in made
            ]
        )
    else:
        for one in made:
            _print(one, out)
            if check and not problems[one.name]:
                typer.echo(f"{one.name}: {_checked(rendering, one, load)}", err=True)
    found = [problem for listed in problems.values() for problem in listed]
    if found:
        if not as_json:
            raise Failure("the engine would refuse this:\n" + "\n".join(f"  {problem}" for problem in found))
        raise typer.Exit(1)


def _files(snapshot: Any, env: Any, names: list[str], models_dir: str | None, as_json: bool) -> Any:
    """The weights on this machine; fetched where nothing else is meant."""
    if models_dir is not None:
        return {}
    catalogue, kit = part("headrace_inference.catalogue"), part("headrace_kit.config.deployments")
    configured = snapshot.config.deployments
    entries = dict.fromkeys(entry for name in names if name in configured for entry in kit.entries_of(configured[name]))
    with Progress(as_json) as progress:
        return catalogue.pull(snapshot, env, entries, progress.report)


def _loader() -> Callable[[Path], list[str]] | None:
    """Starts a real Triton where one is installed beside the client."""
    try:
        trial = part("headrace_local.trial")
    except Failure:
        return None
    load: Callable[[Path], list[str]] | None = trial.loader()
    return load


def _checked(rendering: Any, one: Any, load: Callable[[Path], list[str]] | None) -> str:
    """How far a check went, for whoever relies on it."""
    if one.models and load is not None and one.engine in rendering.ON_CPU:
        return "loaded by Triton"
    return "checked against schemas, not loaded"


def _print(one: Any, out: Path | None) -> None:
    if out is not None:
        typer.echo(f"{one.name}: {', '.join(str(out / path) for path in _tops(one))}")
        return
    for path, text in one.files().items():
        typer.echo(f"# {path}\n{text.rstrip()}\n")


def _tops(one: Any) -> list[str]:
    """The folders and scripts of a rendering, each once."""
    return list(dict.fromkeys(path.split("/", 1)[0] for path in one.files()))
