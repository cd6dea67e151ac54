"""`headrace models files|pull|verify|gc`: the files behind models, on this machine."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli._config_file import kit, part, path_of
from headrace.cli._output import console, print_json, print_table
from headrace.cli._target import Json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

Entries = Annotated[list[str] | None, typer.Argument(help="Entries of the catalogue. Default: those in use.")]
AnyEntries = Annotated[list[str] | None, typer.Argument(help="Entries of the catalogue. Default: all.")]
Config = Annotated[
    Path | None, typer.Option(help="Default: HEADRACE_CONFIG, headrace.yaml here, or the local platform's.")
]
_TELL_S = 2.0
_TELL_JSON_S = 0.5


def add_to(app: typer.Typer) -> None:
    """Add these commands to `headrace models`."""
    for command in (files, pull, verify, gc):
        app.command()(command)


def files(entries: AnyEntries = None, config: Config = None, as_json: Json = False) -> None:
    """Show which files of the catalogue are in this machine's cache, with their licences.

    Example: headrace models files
    """
    catalogue = part("headrace_inference.catalogue")
    snapshot, env = read_config(config)
    print_files(catalogue.status(snapshot.config, env, entries), as_json)


def pull(entries: Entries = None, config: Config = None, as_json: Json = False) -> None:
    """Fetch model files into this machine's cache, checked by sha256. What was begun before is gone on with.

    Progress goes to standard error: bars on a terminal, else lines; with --json an event a line.

    Example: headrace models pull smollm2-135m
    """
    catalogue = part("headrace_inference.catalogue")
    snapshot, env = read_config(config)
    chosen = entries or catalogue.wanted_entries(snapshot.config)
    with Progress(as_json) as progress:
        catalogue.pull(snapshot, env, chosen, progress.report)
    print_files(catalogue.status(snapshot.config, env, chosen), as_json)


def verify(entries: AnyEntries = None, config: Config = None, as_json: Json = False) -> None:
    """Hash the cached files again; a corrupt one is deleted, so that `pull` fetches it. Exits with 1 then.

    Example: headrace models verify
    """
    catalogue = part("headrace_inference.catalogue")
    snapshot, env = read_config(config)
    with Progress(as_json) as progress:
        found = catalogue.verify(snapshot.config, env, entries, progress.report)
    print_files(found, as_json)
    if any(file.state == "corrupt" for file in found):
        raise typer.Exit(1)


def gc(
    unused: Annotated[bool, typer.Option("--unused", help="Every file that no deployment uses.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Remove leftovers from this machine's cache, and what is beyond its quota, the longest unused first.

    Files of the config's deployments stay, and those that a running service uses.

    Example: headrace models gc --dry-run
    """
    catalogue = part("headrace_inference.catalogue")
    snapshot, env = read_config(config)
    removed = catalogue.collect(snapshot.config, env, unused=unused, dry_run=dry_run)
    freed = sum(item.size for item in removed)
    if as_json:
        listed = [{"name": item.name, "bytes": item.size, "reason": item.reason} for item in removed]
        print_json({"dry_run": dry_run, "bytes": freed, "removed": listed})
        return
    rows = [(item.name, megabytes(item.size), item.reason) for item in removed]
    print_table(("file", ">size", "why"), rows, empty="nothing to remove")
    if removed:
        typer.echo(f"{megabytes(freed)} {'would come free' if dry_run else 'are free'}")


def read_config(given: Path | None) -> tuple[Any, Any]:
    """The config's snapshot, and the environment of this process."""
    config, path = kit("config"), path_of(given)
    return config.Snapshot(config.load(path), path), config.Environment()


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:.1f} MB"


def _day(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d}" if when else ""


def print_files(found: Iterable[Any], as_json: bool) -> None:
    """Print states of files."""
    if as_json:
        print_json(
            [
                {"entry": f.entry, "file": f.file, "bytes": f.size, "licence": f.licence, "state": f.state}
                | {"path": str(f.path), "detail": f.detail}
                | {"last_used": f.last_used.isoformat(timespec="seconds") if f.last_used else None}
                for f in found
            ]
        )
        return
    rows = [(f.entry, f.file, megabytes(f.size), f.licence, f.state, _day(f.last_used), f.detail) for f in found]
    columns = ("entry", "file", ">size", "licence", "state", "last used", "")
    print_table(columns, rows, empty="the catalogue is empty")


class Progress:
    """How far files are, on standard error: bars on a terminal, else lines; for machines, JSON lines."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._bars = _bars() if sys.stderr.isatty() and not as_json else None
        self._tasks: dict[tuple[str, str], Any] = {}
        self._last: dict[tuple[str, str], tuple[str, float]] = {}
        self._lock = threading.Lock()  # several files are fetched at a time

    def __enter__(self) -> Progress:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def report(self, report: Any) -> None:
        """Show how far a file is."""
        name = (report.entry, report.file)
        with self._lock:
            if self._bars is not None:
                if name not in self._tasks:
                    self._tasks[name] = self._bars.add_task("/".join(name), total=report.size, state="")
                state = f"{report.state} {report.source}".strip()
                self._bars.update(self._tasks[name], completed=report.done, state=state)
            elif self._is_news(name, report.state):
                self._tell(report)

    def _is_news(self, name: tuple[str, str], state: str) -> bool:
        now = time.monotonic()
        last, when = self._last.get(name, ("", 0.0))
        if state == last and now - when < (_TELL_JSON_S if self._as_json else _TELL_S):
            return False
        self._last[name] = (state, now)
        # what was there all along is no news to a person
        return self._as_json or last != "" or state != "ready"

    def _tell(self, report: Any) -> None:
        if self._as_json:
            import msgspec

            event = {"event": report.state, "entry": report.entry, "file": report.file, "done": report.done}
            line = msgspec.json.encode({**event, "bytes": report.size, "source": report.source}).decode()
        else:
            line = f"{report.entry}/{report.file}: {report.state}"
            if report.state in ("downloading", "checking"):
                line += f" {megabytes(report.done)} of {megabytes(report.size)}"
                line += f" from {report.source}" if report.source else ""
        typer.echo(line, err=True)


def _bars() -> Any:
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
        console=console(err=True),
        transient=True,
    )
