"""What `up` shows while a platform starts: a line for each unit that is ready, and what is being waited for."""

import time
from types import TracebackType

from rich.console import Console
from rich.status import Status

from headrace_local import logfiles
from headrace_local.layout import Layout
from headrace_local.state import RunState, UnitState

QUIET_S = 5
"""Without a terminal, seconds between two lines about the same unit."""


class Progress:
    """Prints changes; on a terminal it also keeps a status line."""

    def __init__(self, console: Console, layout: Layout) -> None:
        self._console = console
        self._layout = layout
        self._begun = time.monotonic()
        self._phases: dict[str, str] = {}
        self._restarts: dict[str, int] = {}
        self._said: dict[str, tuple[float, str]] = {}
        self._status = Status("starting", console=console) if console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the status line away."""
        if self._status:
            self._status.stop()

    def update(self, run: RunState) -> None:
        """Show how the run stands."""
        for name, unit in run.units.items():
            if unit.restarts > self._restarts.get(name, 0):
                self._restarts[name] = unit.restarts
                self._print(f"{name}: {unit.last_exit}; starting again")
            if self._phases.get(name) != unit.phase:
                self._phases[name] = unit.phase
                if unit.phase in ("ready", "done"):
                    self._print(f"{name}: {unit.phase}")
        waiting = [(name, unit) for name, unit in run.units.items() if unit.phase == "starting"]
        if self._status:
            self._status.update("; ".join(self._doing(name, unit) for name, unit in waiting) or "starting")
            return
        for name, unit in waiting:
            doing = self._doing(name, unit)
            last, text = self._said.get(name, (self._begun, name))
            if doing != text and time.monotonic() - last >= QUIET_S:
                self._said[name] = (time.monotonic(), doing)
                self._print(doing)

    def _doing(self, name: str, unit: UnitState) -> str:
        """The unit's name, and of a task the line that it printed last."""
        said = logfiles.tail(self._layout.log(name), 1) if unit.kind == "task" else []
        return f"{name}: {said[0][:100]}" if said else name

    def _print(self, text: str) -> None:
        self._console.print(f"{time.monotonic() - self._begun:6.1f} s  {text}", markup=False, soft_wrap=True)
