"""The cluster's own processes: started in the background, found again by a file each, ended one by one.

The file holds the process's id and its start time, so that a number which belongs to somebody else by now is never
signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def start(pids: Path, logs: Path, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """Start a process in a session of its own, unless it runs. Its output goes to `<logs>/<name>.log`."""
    if running(pids, name) is not None:
        return
    pids.mkdir(parents=True, exist_ok=True)
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{name}.log").open("ab") as log, Path(os.devnull).open("rb") as nothing:
        streams = [(os.POSIX_SPAWN_DUP2, file.fileno(), number) for number, file in enumerate((nothing, log, log))]
        pid = os.posix_spawnp(command[0], list(command), env or os.environ, file_actions=streams, setsid=True)
    (pids / name).write_text(f"{pid} {started(pid)}\n")


def running(pids: Path, name: str) -> int | None:
    """The id of a started process that still runs."""
    try:
        pid, begun = (pids / name).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if started(int(pid)) == begun else None


def started(pid: int) -> str | None:
    """When a process began, in clock ticks since boot; None where it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def stop(pids: Path, names: Iterable[str], grace_s: float) -> None:
    """Ask processes to end, and kill those that have not after `grace_s`."""
    alive = {name: pid for name in names if (pid := running(pids, name)) is not None}
    for pid in alive.values():
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while any(running(pids, name) for name in alive) and time.monotonic() < deadline:
        _reap()
        time.sleep(0.05)
    for name, pid in alive.items():
        if running(pids, name):
            _signal(pid, signal.SIGKILL)
    while any(running(pids, name) for name in alive):
        _reap()
        time.sleep(0.02)
    for name in names:
        (pids / name).unlink(missing_ok=True)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
