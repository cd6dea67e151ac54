"""`up`, `down`, `restart`, `status` and `logs`: what `make` and the `headrace` command call.

Each prints for people and returns the process's exit code.
"""

import contextlib
import json
import shlex
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headrace_kit.errors import HeadraceError
from headrace_local import access, control, logfiles, ports, postgres, state, triton, valkey
from headrace_local.platform import AlreadyRunning, Platform, StartFailed, StopFailed
from headrace_local.progress import Progress
from headrace_local.settings import Settings, SettingsInvalid
from headrace_local.units import PlanError

FAULTS = (
    HeadraceError,
    SettingsInvalid,
    TimeoutError,
    PlanError,
    StartFailed,
    StopFailed,
    access.AccessError,
    control.ControlError,
    ports.PortInUse,
    postgres.PostgresError,
    triton.TritonError,
    valkey.ValkeyError,
    OSError,
)
"""What can go wrong without being a fault in this code: shown as a message."""

Options = ParamSpec("Options")


def _told(command: Callable[Options, int]) -> Callable[Options, int]:
    """The command, its faults told in one message and its interruption by Ctrl-C in the usual exit code."""

    @wraps(command)
    def run(*args: Options.args, **kwargs: Options.kwargs) -> int:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            return 130
        except FAULTS as error:
            return _fault(error)

    return run


@_told
def up(
    *,
    foreground: bool = False,
    config: Path | None = None,
    runtime: str | None = None,
    port_base: int | None = None,
    console: Console | None = None,
) -> int:
    """Start the platform, wait until it is ready, and print how to use it.

    Args:
        foreground: stay until Ctrl-C, which stops everything.
        config: headrace.yaml; default HEADRACE_CONFIG, else the one that comes with this package.
        runtime: `process` or `ray`; default HEADRACE_RUNTIME, else `process`.
        port_base: first of the platform's 100 ports; default HEADRACE_PORT_BASE, else 7800.
        console: where to print.
    """
    console = console or Console(highlight=False)
    begun = time.monotonic()
    platform = Platform(Settings.from_environment(config=config, runtime=runtime, port_base=port_base))
    with Progress(console, platform.layout) as progress:
        try:
            platform.start(bound=foreground, watch=progress.update)
        except AlreadyRunning:
            return _already_running(platform, console, progress)
        except KeyboardInterrupt:
            console.print("interrupted: everything that was started is stopped")
            raise
    _welcome(platform, console, f"ready in {time.monotonic() - begun:.0f} s")
    return _stay(platform, console) if foreground else 0


@_told
def down(*, console: Console | None = None) -> int:
    """Stop the platform, whatever state it is in. Stopping one that does not run is no error."""
    console = console or Console(highlight=False)
    platform = Platform(Settings.from_environment())
    was_running = platform.status() is not None
    with console.status("stopping"):
        leftovers = platform.stop()
    if leftovers:
        console.print(f"ended what an earlier run had left: {', '.join(leftovers)}")
    console.print("stopped" if was_running else f"no platform runs in {platform.layout.data_dir}", soft_wrap=True)
    return 0


@_told
def restart(
    *,
    unit: str | None = None,
    config: Path | None = None,
    runtime: str | None = None,
    port_base: int | None = None,
    console: Console | None = None,
) -> int:
    """Restart one unit of a running platform, or all of it (with the arguments of `up`)."""
    console = console or Console(highlight=False)
    if unit is None:
        return down(console=console) or up(config=config, runtime=runtime, port_base=port_base, console=console)
    platform = Platform(Settings.from_environment())
    platform.restart_unit(unit)
    with console.status(f"waiting for {unit}"):
        platform.wait_ready(unit, timeout_s=180)
    console.print(f"{unit} is ready")
    return 0


@_told
def status(*, as_json: bool = False, console: Console | None = None) -> int:
    """Show what runs. 0 when everything is ready, 1 when something is not, 3 when nothing runs."""
    console = console or Console(highlight=False)
    platform = Platform(Settings.from_environment())
    run = platform.status()
    if as_json:
        units = {name: _facts(unit) for name, unit in run.units.items()} if run else {}
        print(json.dumps({"running": run is not None, **(run.facts if run else {}), "units": units}))
    elif run is None:
        console.print(f"no platform runs in {platform.layout.data_dir}; start it with: make up", soft_wrap=True)
    else:
        console.print(_table(run))
        console.print(" ".join(f"{key}={value}" for key, value in run.facts.items()), soft_wrap=True)
    return 3 if run is None else 0 if run.ready else 1


@_told
def logs(units: Sequence[str] = (), *, follow: bool = False, lines: int = 50, console: Console | None = None) -> int:
    """Print the end of the units' logs, of all units by default; with `follow` go on until Ctrl-C."""
    console = console or Console(highlight=False)
    layout = Platform(Settings.from_environment()).layout
    there = sorted(path.stem for path in layout.logs.glob("*.log")) if layout.logs.is_dir() else []
    if unknown := [unit for unit in units if unit not in there]:
        return _fault(f"no log of {', '.join(unknown)}; there are: {', '.join(there) or 'none, nothing ran yet'}")
    chosen = list(units) or there
    width = max(map(len, chosen), default=0)
    positions = {unit: _size(layout.log(unit)) for unit in chosen}
    for unit in chosen:
        _print_lines(console, unit, width, logfiles.tail(layout.log(unit), lines))
    try:
        while follow:
            time.sleep(0.3)
            for unit in chosen:
                size = _size(layout.log(unit))
                if size != positions[unit]:
                    since = positions[unit] if size > positions[unit] else 0
                    _print_lines(console, unit, width, logfiles.tail(layout.log(unit), 10_000, since_byte=since))
                    positions[unit] = size
    except KeyboardInterrupt:
        pass
    return 0


def _already_running(platform: Platform, console: Console, progress: Progress) -> int:
    run = platform.status()
    if run is None or not run.ready:  # another `up` is at it
        platform.wait(timeout_s=1800, watch=progress.update)
        run = platform.status()
    progress.close()
    if run is None:
        raise StartFailed("the platform that ran here was just stopped")
    access.grant(platform.layout, run.facts)
    _welcome(platform, console, "already running")
    settings = platform.settings
    asked = {"port_base": str(settings.port_base), "runtime": settings.runtime, "config": str(settings.config)}
    for name, value in asked.items():
        if run.facts[name] != value:
            console.print(f"It has {name} {run.facts[name]}, not {value}: `make restart` changes that.")
    return 0


def _stay(platform: Platform, console: Console) -> int:
    console.print("Ctrl-C stops everything.")
    restarts: dict[str, int] = {}
    try:
        while (run := platform.status()) is not None:
            for name, unit in run.units.items():
                if unit.restarts > restarts.get(name, 0):
                    console.print(f"{name} is started again ({unit.last_exit})")
                restarts[name] = unit.restarts
            time.sleep(0.5)
    except KeyboardInterrupt:
        with console.status("stopping"):
            platform.stop()
        console.print("stopped")
        return 0
    return _fault("the platform was stopped")


def _welcome(platform: Platform, console: Console, how: str) -> None:
    env = platform.env()
    console.print(f"\n[bold]headrace is {how}[/]: {env['HEADRACE_URL']}")
    console.print(f"API key:   {env['HEADRACE_API_KEY']}", markup=False)
    console.print(f"Console:   {env['HEADRACE_URL']}/console/ (log in with that key)", markup=False, soft_wrap=True)
    console.print(f"For scripts: set -a; . {shlex.quote(str(platform.layout.env_file))}", markup=False, soft_wrap=True)
    console.print("Try it:", markup=False)
    console.print(access.curl(env), markup=False, soft_wrap=True)


def _table(run: state.RunState) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("unit", "state", "pid", "restarts", "memory", "last exit"):
        table.add_column(column, justify="right" if column in ("pid", "restarts", "memory") else "left")
    total = 0
    for name, unit in run.units.items():
        facts = _facts(unit)
        total += _memory_bytes(unit.pid) or 0
        table.add_row(
            name,
            f"[{'green' if unit.phase in ('ready', 'done') else 'yellow'}]{unit.phase}[/]",
            str(unit.pid or ""),
            str(unit.restarts or ""),
            _megabytes(facts["memory_bytes"]),
            escape(unit.last_exit or "") if unit.kind == "service" or unit.phase == "failed" else "",
        )
    table.add_row("", "", "", "", _megabytes(total), "")
    return table


def _facts(unit: state.UnitState) -> dict[str, object]:
    return {
        "state": unit.phase,
        "pid": unit.pid,
        "restarts": unit.restarts,
        "last_exit": unit.last_exit,
        "memory_bytes": _memory_bytes(unit.pid),
    }


def _memory_bytes(pid: int | None) -> int | None:
    """Proportional share of memory of a process and all below it: shared pages count once in a sum."""
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return None
    total = 0
    for member in family:
        with contextlib.suppress(psutil.Error):
            try:
                total += member.memory_full_info().pss
            except psutil.AccessDenied:
                total += member.memory_info().rss
    return total


def _megabytes(count: object) -> str:
    return f"{count / 1e6:.0f} MB" if isinstance(count, int) and count else ""


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _print_lines(console: Console, unit: str, width: int, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(f"{unit:<{width}} | {line}", markup=False, soft_wrap=True)


def _fault(problem: object) -> int:
    Console(stderr=True, highlight=False).print(f"headrace: {problem}", markup=False, soft_wrap=True)
    return 1
