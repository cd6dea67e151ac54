"""Processes: started so that they cannot outlive us unseen, named so that they can be found again, ended for sure.

Every process of a run carries three variables in its environment: HEADRACE_RUN_ID (starts with the data directory's
identity), HEADRACE_UNIT and HEADRACE_STOP_SIGNAL. They survive the loss of every file of the run.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

RUN_ID = "HEADRACE_RUN_ID"
UNIT = "HEADRACE_UNIT"
STOP_SIGNAL = "HEADRACE_STOP_SIGNAL"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Have every orphan below this process become its child, instead of PID 1's."""
    if _libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def die_with_parent(stop_signal: int, parent: int) -> None:
    """Have this process sent `stop_signal` when the thread that started it ends, however that happens.

    Args:
        stop_signal: the signal.
        parent: pid of the process that started this one; where it is gone already, this one exits at once.
    """
    _libc().prctl(_PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _dying_with(parent: int, stop_signal: int) -> Callable[[], None]:
    _libc()  # loaded here, so that nothing is between fork and exec
    return lambda: die_with_parent(stop_signal, parent)


def spawn(argv: Sequence[str], *, env: Mapping[str, str], log: Path, stop_signal: int) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, its output appended to `log`.

    Call it from a single-threaded process. The caller reaps it.

    Raises:
        OSError: there is no such program, or it may not be run.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_dying_with(os.getpid(), stop_signal),
        )
    finally:
        os.close(output)


def started(pid: int) -> int | None:
    """Clock ticks between boot and the creation of the process; None where it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def alive(pid: int, ticks: int) -> bool:
    """Whether this very process still runs, not a later one with the same pid."""
    return started(pid) == ticks


def environment(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty where it cannot be read or was overwritten."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.split("=", 1) for entry in raw.decode(errors="replace").split("\0") if "=" in entry)
    return dict(pairs)


def pids() -> list[int]:
    """Every process of the machine that can be seen from here."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208


def of_data_dir(identity: str) -> dict[int, dict[str, str]]:
    """Running processes of any run of a data directory, with their environments; this process is left out."""
    found = {}
    for pid in pids():
        variables = environment(pid) if pid != os.getpid() else {}
        if variables.get(RUN_ID, "").startswith(f"{identity}-") and started(pid) is not None:
            found[pid] = variables
    return found


def end_leftovers(identity: str, *, grace_s: float = 15) -> list[str]:
    """End what an earlier run of the data directory left behind, politely first.

    Call it only while holding the data directory's lock. Returns the names of the units found.
    """
    names: set[str] = set()
    deadline = time.monotonic() + grace_s
    asked: set[int] = set()
    while found := of_data_dir(identity):
        late = time.monotonic() > deadline
        for pid, variables in found.items():
            if late or pid not in asked:
                asked.add(pid)
                names.add(variables.get(UNIT, "unknown"))
                polite = int(variables.get(STOP_SIGNAL, signal.SIGTERM))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else polite)
        time.sleep(0.05)
    return sorted(names)


def end_orphans(unit: str, executable: str | None, ours: Iterable[int]) -> None:
    """Kill and reap the children that this subreaper inherited from a unit that has ended.

    A process that overwrote its environment (a PostgreSQL backend shows its title there) is known by its executable.
    """
    known = set(ours)
    while True:
        found = False
        for pid in _children() - known:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    continue
            owner = environment(pid).get(UNIT)
            if owner == unit or (owner is None and executable is not None and program(pid) == executable):
                found = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if not found:
            return
        time.sleep(0.005)


def reap(ours: Iterable[int]) -> None:
    """Reap inherited children that have ended, leaving those that somebody here waits for."""
    for pid in _children() - set(ours):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def program(pid: int) -> str | None:
    """The path of the executable that a process runs, None where it cannot be told."""
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return None


def _children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}
