"""`headrace models`: what can be named, and the files behind it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli._config_file import kit, part, path_of
from headrace.cli._output import console, print_json, print_table
from headrace.cli._target import Json, connect, group

if TYPE_CHECKING:
    from collections.abc import Iterable

app = group("models", "Models: what can be named, and the files behind it.")
Entries = Annotated[list[str] | None, typer.Argument(help="Entries of the catalogue. Default: those in use.")]
Config = Annotated[
    Path | None, typer.Option(help="Default: HEADRACE_CONFIG, headrace.yaml here, or the local platform's.")
]


@app.command("list")
def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """List the models that your team may name.

    Example: headrace models list
    """
    with connect(ctx) as client:
        found = client.models()
    if as_json:
        print_json(found)
    else:
        print_table(("model", "task"), [(model.id, model.task) for model in found], empty="no models")


@app.command()
def status(config: Config = None, as_json: Json = False) -> None:
    """Show which files of the catalogue are in this machine's cache.

    Example: headrace models status
    """
    catalogue = part("headrace_inference.catalogue")
    snapshot, env = _snapshot(config)
    _print_files(catalogue.status(snapshot.config, env), as_json)


@app.command()
def pull(entries: Entries = None, config: Config = None, as_json: Json = False) -> None:
    """Fetch model files into this machine's cache, checked by sha256.

    Example: headrace models pull smollm2-135m
    """
    catalogue = part("headrace_inference.catalogue")
    snapshot, env = _snapshot(config)
    chosen = entries or catalogue.wanted_entries(snapshot.config)
    with _Bars(quiet=as_json) as bars:
        catalogue.pull(snapshot, env, chosen, bars.report)
    _print_files(catalogue.status(snapshot.config, env, chosen), as_json)


@app.command()
def verify(entries: Entries = None, config: Config = None, as_json: Json = False) -> None:
    """Hash the cached files again; a corrupt one is deleted, so that `pull` fetches it. Exits with 1 then.

    Example: headrace models verify
    """
    catalogue = part("headrace_inference.catalogue")
    snapshot, env = _snapshot(config)
    found = catalogue.verify(snapshot.config, env, entries)
    _print_files(found, as_json)
    if any(file.state == "corrupt" for file in found):
        raise typer.Exit(1)


@app.command()
def render(
    folder: Annotated[Path, typer.Argument(help="Where to; what a render wrote there before is replaced.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write Triton's model repository for the config's deployments.

    Example: headrace models render build/models
    """
    catalogue, triton = part("headrace_inference.catalogue"), part("headrace_inference.rendering.triton")
    snapshot, env = _snapshot(config)
    with _Bars(quiet=as_json) as bars:
        files = catalogue.pull(snapshot, env, None, bars.report)
    names = triton.render(snapshot.config, folder, files)
    if as_json:
        print_json({"folder": str(folder), "models": names})
    else:
        typer.echo(f"{folder}: {', '.join(names)}")


def _snapshot(given: Path | None) -> tuple[Any, Any]:
    config, path = kit("config"), path_of(given)
    return config.Snapshot(config.load(path), path), config.Environment()


def _print_files(files: Iterable[Any], as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {"entry": f.entry, "file": f.file, "bytes": f.size, "licence": f.licence, "state": f.state}
                | {"path": str(f.path), "detail": f.detail}
                for f in files
            ]
        )
        return
    rows = [(f.entry, f.file, f"{f.size / 1e6:.1f} MB", f.licence, f.state, f.detail) for f in files]
    print_table(("entry", "file", ">size", "licence", "state", ""), rows, empty="the catalogue is empty")


class _Bars:
    """A progress bar per file that is fetched; nothing where nobody watches."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        shown = sys.stderr.isatty() and not quiet
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[state]}"),
            console=console(err=True),
            transient=True,
            disable=not shown,
        )
        self._tasks: dict[tuple[str, str], Any] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def report(self, report: Any) -> None:
        """Show how far a file is."""
        name = (report.entry, report.file)
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(f"{report.entry}/{report.file}", total=report.total, state="")
        self._progress.update(self._tasks[name], completed=report.done, state=f"{report.state} {report.source}".strip())
