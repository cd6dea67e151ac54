"""Supervisors of trivial processes, each in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from headrace_local import control, processes, state
from headrace_local.layout import Layout
from headrace_local.units import Plan, Unit


def eventually(what: Callable[[], object], *, timeout_s: float = 20) -> object:
    """The first true value of `what()`; fails when none comes in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return value


class Supervised:
    """A supervisor process with a plan of the test's own."""

    eventually = staticmethod(eventually)

    def __init__(self, folder: Path) -> None:
        self.layout = Layout.of(folder)
        self.layout.create()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *units: Unit) -> None:
        plan = Plan(data_dir=str(self.layout.data_dir), run_id=f"{self.layout.identity}-test", units=units)
        self.layout.plan.write_bytes(msgspec.json.encode(plan))
        with self.layout.log("supervisor").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headrace_local.supervisor", self.layout.plan, self.layout.state],
                env={**os.environ, processes.RUN_ID: plan.run_id},
                stdout=log,
                stderr=log,
            )
        eventually(self.run)

    def run(self) -> state.RunState | None:
        return state.read(self.layout.state)

    def unit(self, name: str) -> state.UnitState:
        run = self.run()
        assert run is not None
        return run.units[name]

    def until(self, name: str, phase: str, *, restarts: int = 0) -> state.UnitState:
        def there() -> state.UnitState | None:
            unit = self.unit(name)
            return unit if unit.phase == phase and unit.restarts >= restarts else None

        return eventually(there)

    def ask(self, action: control.Action, unit: str | None = None) -> None:
        run = self.run()
        assert run is not None
        control.ask(run.control_port, run.control_token, action, unit)

    def said(self, unit: str) -> str:
        return self.layout.log(unit).read_text()

    def leftovers(self) -> dict[int, dict[str, str]]:
        return processes.of_data_dir(self.layout.identity)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    """A supervisor to start; ended with all it started after the test."""
    made = Supervised(tmp_path / "data")
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait()
    processes.end_leftovers(made.layout.identity, grace_s=0)
