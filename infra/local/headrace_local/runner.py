"""The life of one unit: wait for what it needs, start it, watch it, start it again, stop it."""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace_kit.processes import ended
from headrace_local import logfiles, probes, processes, stale
from headrace_local.state import Phase, UnitState
from headrace_local.units import Unit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How quickly a runner acts; tests use a quicker one.

    Attributes:
        first_backoff_s: wait before the first restart; doubles with each further one.
        longest_backoff_s: no wait is longer.
        steady_s: a unit that ran this long starts again from `first_backoff_s`.
        attempts: exits before the unit was ever ready that make the runner give up.
        starting_probe_s: between two probes of a unit that is not ready yet.
        steady_probe_s: between two probes of a ready one.
        patience_s: a unit that was ready and says nothing at all for so long is killed and started again.
    """

    first_backoff_s: float = 0.5
    longest_backoff_s: float = 10
    steady_s: float = 30
    attempts: int = 3
    starting_probe_s: float = 0.1
    steady_probe_s: float = 5
    patience_s: float = 60


@dataclass
class Surroundings:
    """What a runner shares with its supervisor.

    Attributes:
        env: environment of every unit, before its own additions.
        log: the log file of a unit.
        changed: called after each change of state.
        waited_for: pids that somebody here will reap.
    """

    env: Mapping[str, str]
    log: Callable[[str], Path]
    changed: Callable[[], None]
    pace: Pace = Pace()
    waited_for: set[int] = field(default_factory=set)


class UnitRunner:
    """Keeps one unit running until `stop()`."""

    def __init__(self, unit: Unit, state: UnitState, around: Surroundings) -> None:
        self.unit = unit
        self.state = state
        self.up = asyncio.Event()
        """Set while the service is ready, or once the task is done."""
        self._around = around
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._unwanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._program: str | None = None
        self._killed_because: str | None = None

    async def run(self, needs: list["UnitRunner"]) -> None:
        """Wait for `needs`, then keep the unit going; returns when a task is done."""
        for need in needs:
            await need.up.wait()
        backoff_s, early_exits, was_ready = self._around.pace.first_backoff_s, 0, False
        while True:
            await self._wanted.wait()
            self._idle.clear()
            begun = time.monotonic()
            try:
                ended_well = await self._once()
            finally:
                self.up.clear()
                self._idle.set()
            if self._unwanted.is_set():
                self._phase("stopped")
                backoff_s, early_exits = self._around.pace.first_backoff_s, 0
                continue
            if self.unit.kind == "task":
                if ended_well:
                    self._phase("done")
                    self.up.set()
                    return
                self._give_up()
                continue
            was_ready = was_ready or self.state.ready_after_s is not None
            early_exits = early_exits if was_ready else early_exits + 1
            if early_exits >= self._around.pace.attempts:
                self._give_up()
                early_exits = 0
                continue
            if time.monotonic() - begun >= self._around.pace.steady_s:
                backoff_s = self._around.pace.first_backoff_s
            self.state.restarts += 1
            self._phase("backoff")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._unwanted.wait(), backoff_s)
            backoff_s = min(backoff_s * 2, self._around.pace.longest_backoff_s)

    async def stop(self) -> None:
        """Stop the unit and keep it stopped until `start()`. Returns when its process is gone."""
        self._wanted.clear()
        self._unwanted.set()
        if self.state.pid is not None:
            self._phase("stopping")
        await self._idle.wait()
        if self.state.phase not in ("done", "failed"):
            self._phase("stopped")

    def start(self) -> None:
        """Have a stopped or failed unit run again."""
        self._unwanted.clear()
        self._wanted.set()

    def _phase(self, phase: Phase) -> None:
        if phase == self.state.phase:
            return
        self.state.phase = phase
        logger.info("%s: %s", self.unit.name, phase)
        self._around.changed()

    def _give_up(self) -> None:
        self._wanted.clear()
        self._phase("failed")

    async def _once(self) -> bool:
        """Run the process once, to its end or until it is unwanted. True where it exited with 0."""
        stale.remove(self.unit.stale_files)
        if self.unit.kind == "task":  # its last line is shown as how far it is: it must be this run's
            logfiles.rotate(self._around.log(self.unit.name), limit_bytes=0)
        self.state.ready_after_s = None
        try:
            stale.link(self.unit.links)
            process = processes.spawn(
                self.unit.argv,
                env={
                    **self._around.env,
                    **self.unit.env,
                    processes.UNIT: self.unit.name,
                    processes.STOP_SIGNAL: str(int(self.unit.stop_signal)),
                },
                log=self._around.log(self.unit.name),
                stop_signal=self.unit.stop_signal,
            )
        except OSError as error:
            self.state.last_exit = f"could not be started: {error}"
            return False
        self._around.waited_for.add(process.pid)
        self.state.pid, self.state.started = process.pid, processes.started(process.pid)
        self._phase("starting")
        exited = asyncio.ensure_future(ended(process.pid))
        watching = asyncio.ensure_future(self._watch(process.pid))
        unwanted = asyncio.ensure_future(self._unwanted.wait())
        try:
            await asyncio.wait({exited, watching, unwanted}, return_when=asyncio.FIRST_COMPLETED)
            self.up.clear()
            if not exited.done():
                await self._end(process, exited, polite=unwanted.done())
        finally:
            for waiting in (watching, unwanted):
                waiting.cancel()
            await asyncio.gather(watching, unwanted, return_exceptions=True)
            self._bury(process)
        return process.returncode == 0

    async def _watch(self, pid: int) -> None:
        """Keep the phase true to what the unit answers; returns, with the reason set, when it must be killed."""
        pace, begun = self._around.pace, time.monotonic()
        last_sign = begun
        while True:
            answer = await self._ask()
            now = time.monotonic()
            last_sign = last_sign if answer == "silent" else now
            if answer == "ready":
                if self.state.ready_after_s is None:
                    self.state.ready_after_s = round(now - begun, 2)
                    self._program = processes.program(pid)
                if self.state.phase != "ready":
                    self._phase("ready")
                    self.up.set()
            elif self.state.ready_after_s is None:
                if now - last_sign > self.unit.start_s:
                    self._killed_because = f"silent for {self.unit.start_s:g} s after its start"
                    return
            else:
                if self.state.phase == "ready":
                    self._phase("unready")
                if now - last_sign > pace.patience_s:
                    self._killed_because = f"silent for {pace.patience_s:g} s"
                    return
            await asyncio.sleep(pace.steady_probe_s if self.state.phase == "ready" else pace.starting_probe_s)

    async def _ask(self) -> probes.Answer:
        if self.unit.kind == "task":
            await asyncio.Event().wait()  # a task is ready when it has ended
        if self.unit.probe is None:
            return "ready"
        return await probes.ask(self.unit.probe, self._around.waited_for)

    async def _end(self, process: subprocess.Popen[bytes], exited: asyncio.Future[None], *, polite: bool) -> None:
        if polite:
            process.send_signal(self.unit.stop_signal)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(exited), self.unit.stop_s)
        if not exited.done():
            process.kill()
            await exited

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        """Reap the process and make sure that nothing it started stays."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # while unreaped, its number cannot belong to another group
        code = process.wait()
        self._around.waited_for.discard(process.pid)
        processes.end_orphans(self.unit.name, self._program, self._around.waited_for)
        stale.remove(self.unit.stale_files)
        stale.unlink(self.unit.links)
        self.state.pid = self.state.started = None
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if self._killed_because is not None:
            how = f"killed: {self._killed_because}"
        self.state.last_exit, self._killed_because = how, None
        logger.info("%s: %s", self.unit.name, how)
