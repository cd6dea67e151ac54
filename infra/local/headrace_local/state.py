"""What the supervisor tells the world about its run, in a file that is replaced at each change."""

import os
from pathlib import Path
from typing import Literal

import msgspec

Phase = Literal["waiting", "starting", "ready", "unready", "backoff", "done", "failed", "stopping", "stopped"]


class UnitState(msgspec.Struct, kw_only=True):
    """One unit as it is now."""

    phase: Phase = "waiting"
    kind: Literal["service", "task"] = "service"
    pid: int | None = None
    started: int | None = None
    """Clock ticks between boot and the process's creation: with the pid it names one process."""
    ready_after_s: float | None = None
    restarts: int = 0
    last_exit: str | None = None
    """How the process last ended, in words."""


class RunState(msgspec.Struct, kw_only=True):
    """The whole run."""

    run_id: str
    supervisor_pid: int
    supervisor_started: int
    control_port: int
    control_token: str
    stopping: bool = False
    facts: dict[str, str] = {}
    units: dict[str, UnitState] = {}

    @property
    def ready(self) -> bool:
        """Every service is ready and every task done."""
        return all(unit.phase in ("ready", "done") for unit in self.units.values())

    @property
    def failed(self) -> list[str]:
        """Names of the units that gave up."""
        return [name for name, unit in self.units.items() if unit.phase == "failed"]


def write(path: Path, state: RunState) -> None:
    """Replace the file in one step, readable by its owner alone (it holds the control token)."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(state))
    fresh.replace(path)


def read(path: Path) -> RunState | None:
    """The state last written, or None where there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
