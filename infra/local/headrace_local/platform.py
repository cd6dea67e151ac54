"""One platform on this machine, for commands and for tests.

platform = Platform(Settings(data_dir=folder, port_base=free_port_base()))
platform.start(["postgres", "valkey"])
try:
    ...
finally:
    platform.stop()
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

import msgspec

from headrace_local import access, control, logfiles, plan, ports, processes, secrets, stale, state, valkey
from headrace_local.settings import Settings
from headrace_local.units import Plan


class AlreadyRunning(RuntimeError):
    """A platform with this data directory runs, or is just being started or stopped."""


class StartFailed(RuntimeError):
    """The platform did not come up; the message has the end of the log of what failed."""


class StopFailed(RuntimeError):
    """The platform did not stop in time."""


Watcher = Callable[[state.RunState], None]

PATIENCE_S = 5
"""Seconds that a start waits for the data directory while nobody seems to run in it."""
_ENDING_S = 10
"""Seconds that a supervisor, whose lock is free again, has to be gone."""


class Platform:
    """A platform by its settings, running or not; several objects may stand for the same one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.layout = settings.layout
        self._supervisor: subprocess.Popen[bytes] | None = None

    @cached_property
    def _ports(self) -> dict[str, int]:
        return plan.ports_of(self.settings)

    @property
    def url(self) -> str:
        """Base URL of the gateway's HTTP API."""
        return f"http://127.0.0.1:{self.port('gateway-http')}"

    def port(self, name: str) -> int:
        """The port of `name` in `headrace_kit.config.ports.OFFSETS`."""
        return self._ports[name]

    def start(
        self,
        parts: Iterable[str] | None = None,
        *,
        bound: bool = False,
        timeout_s: float = 1800,
        watch: Watcher = lambda run: None,
    ) -> None:
        """Start the parts and wait until all of them are ready; on failure everything is stopped again.

        Args:
            parts: names of `plan.PARTS` and of services; None for everything.
            bound: stop when this process ends, however it ends. Call from the main thread then.
            timeout_s: seconds for everything, downloads included.
            watch: called a few times a second with the state of the run.

        Raises:
            AlreadyRunning: there is one with this data directory.
            ConfigInvalid: the config file cannot be used; the message names the line and the field.
            PortInUse: something else listens on one of its ports.
            StartFailed: a part gave up, or the time ran out.
        """
        self.begin(parts, bound=bound)
        try:
            self.wait(timeout_s=timeout_s, watch=watch)
            if parts is None:
                access.grant(self.layout, self._facts())
        except BaseException:
            self.stop()
            raise

    def begin(self, parts: Iterable[str] | None = None, *, bound: bool = False) -> None:
        """Like `start`, without waiting. What an earlier, killed run left behind is ended first."""
        made = plan.make(self.settings, parts)
        self.layout.create()
        with self._lock(patience_s=PATIENCE_S) as lock:
            self._end_leftovers(made)
            ports.check(
                {purpose: number for unit in made.units for purpose, number in unit.ports.items()},
                self.settings.port_base,
            )
            secrets.ensure(self.layout, postgres_port=self.port("postgres"), valkey_port=self.port("valkey"))
            valkey.configure(self.layout, self.port("valkey"))
            secrets.write_private(self.layout.plan, msgspec.json.encode(made).decode())
            self._spawn(made, lock, bound)

    def wait(self, *, timeout_s: float, watch: Watcher = lambda run: None) -> None:
        """Wait until everything is ready.

        Raises:
            StartFailed: a unit gave up, the supervisor ended, or the time ran out.
        """
        deadline = time.monotonic() + timeout_s
        seen = False
        while True:
            run = self.status()
            if run is not None:
                seen = True
                watch(run)
                if run.failed:
                    raise StartFailed("\n".join(self._why(name, run) for name in run.failed))
                if run.ready:
                    return
            elif seen or not self.running():
                raise StartFailed("the supervisor ended:\n" + self._log_tail("supervisor"))
            if time.monotonic() > deadline:
                late = [name for name, unit in run.units.items() if unit.phase not in ("ready", "done")] if run else []
                raise StartFailed(f"not ready after {timeout_s:g} s: {', '.join(late) or 'the supervisor'}")
            time.sleep(0.1)

    def running(self) -> bool:
        """Whether a supervisor holds the data directory."""
        try:
            with self._lock():
                return False
        except AlreadyRunning:
            return True
        except FileNotFoundError:
            return False

    def status(self) -> state.RunState | None:
        """What runs; None where nothing does."""
        run = state.read(self.layout.state)
        return run if run is not None and processes.alive(run.supervisor_pid, run.supervisor_started) else None

    def stop(self, *, timeout_s: float = 90) -> list[str]:
        """Stop everything, and end whatever a killed run left. Returns the names of units of such a run.

        Raises:
            StopFailed: it did not stop in time, not even when killed.
        """
        deadline = time.monotonic() + timeout_s
        while (run := self.status()) is not None:
            with contextlib.suppress(control.ControlError):
                control.ask(run.control_port, run.control_token, "stop", timeout_s=5)
            while processes.alive(run.supervisor_pid, run.supervisor_started) and time.monotonic() < deadline:
                time.sleep(0.05)
            if time.monotonic() >= deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(run.supervisor_pid, signal.SIGKILL)
                break
        if not self.layout.run.is_dir():  # it was removed while the platform ran
            found = processes.end_leftovers(self.layout.identity)
            self._reap(_ENDING_S)
            return found
        while True:
            try:
                with self._lock():
                    return self._end_leftovers(self._last_plan())
            except AlreadyRunning as error:
                if time.monotonic() > deadline + 10:
                    raise StopFailed(str(error)) from error
                time.sleep(0.05)

    def kill(self, unit: str) -> None:
        """Kill a unit's process with SIGKILL, as a crash would; the supervisor starts it again.

        Raises:
            LookupError: it does not run.
        """
        os.kill(self._pid(unit), signal.SIGKILL)

    def kill_supervisor(self) -> None:
        """Kill the supervisor with SIGKILL; returns when it is gone.

        Raises:
            LookupError: it does not run.
        """
        run = self.status()
        if run is None:
            raise LookupError("the platform does not run")
        os.kill(run.supervisor_pid, signal.SIGKILL)
        while processes.alive(run.supervisor_pid, run.supervisor_started):
            time.sleep(0.01)

    def stop_unit(self, unit: str) -> None:
        """Stop a unit and keep it stopped."""
        self._ask("stop_unit", unit)

    def start_unit(self, unit: str) -> None:
        """Start a unit that was stopped or has failed; does not wait."""
        self._ask("start_unit", unit)

    def restart_unit(self, unit: str) -> None:
        """Stop a unit and start it again; does not wait until it is ready."""
        self._ask("restart_unit", unit)

    def wait_ready(self, unit: str, *, restarts: int = 0, timeout_s: float = 60) -> None:
        """Wait until a unit is ready and was started again at least `restarts` times.

        Raises:
            TimeoutError: it was not.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            run = self.status()
            now = run.units[unit] if run else None
            if now and now.restarts >= restarts and now.phase in ("ready", "done"):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{unit} is {now.phase if now else 'not running'} after {timeout_s:g} s")
            time.sleep(0.05)

    def env(self) -> dict[str, str]:
        """What `<data dir>/env` says; empty before the first whole start."""
        return access.read_env(self.layout)

    def _facts(self) -> dict[str, str]:
        run = self.status()
        if run is None:
            raise StartFailed("the platform was stopped while it started")
        return run.facts

    def _ask(self, action: control.Action, unit: str) -> None:
        run = self.status()
        if run is None:
            raise control.ControlError("the platform does not run")
        control.ask(run.control_port, run.control_token, action, unit, timeout_s=60)

    def _pid(self, unit: str) -> int:
        run = self.status()
        pid = run.units[unit].pid if run and unit in run.units else None
        if pid is None:
            raise LookupError(f"{unit} does not run")
        return pid

    @contextlib.contextmanager
    def _lock(self, *, patience_s: float = 0) -> Iterator[int]:
        """Hold the data directory; the descriptor may be handed down to keep it held.

        With `patience_s` a holder that is not a running supervisor (it is just dying, say) is given so many seconds.
        """
        descriptor = os.open(self.layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + patience_s
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline or self.status() is not None:
                        raise AlreadyRunning(f"a platform runs in {self.layout.data_dir}") from None
                    time.sleep(0.05)
            yield descriptor
        finally:
            os.close(descriptor)

    def _end_leftovers(self, made: Plan | None) -> list[str]:
        self._reap()
        found = processes.end_leftovers(self.layout.identity)
        self._reap(_ENDING_S)  # its lock is ours, so it ends, but may not be gone yet
        for unit in made.units if made else ():
            stale.remove(unit.stale_files)
            stale.unlink(unit.links)
        self.layout.state.unlink(missing_ok=True)
        return found

    def _reap(self, wait_s: float = 0) -> None:
        """Take leave of a supervisor that this process started and that has ended, or does within some seconds."""
        if self._supervisor is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._supervisor.wait(wait_s)
                self._supervisor = None

    def _last_plan(self) -> Plan | None:
        try:
            return msgspec.json.decode(self.layout.plan.read_bytes(), type=Plan)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _spawn(self, made: Plan, lock: int, bound: bool) -> None:
        log = self.layout.log("supervisor")
        logfiles.rotate(log, limit_bytes=0)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._reap()
            arguments = [str(self.layout.plan), str(self.layout.state), *([str(os.getpid())] if bound else [])]
            self._supervisor = subprocess.Popen(
                [sys.executable, "-m", "headrace_local.supervisor", *arguments],
                env={
                    **os.environ,
                    **self.settings.environment(),
                    processes.RUN_ID: made.run_id,
                    processes.UNIT: "supervisor",
                    processes.STOP_SIGNAL: str(int(signal.SIGTERM)),
                },
                cwd=self.layout.run,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(lock,),
                start_new_session=True,
            )
        finally:
            os.close(output)

    def _why(self, unit: str, run: state.RunState) -> str:
        return (
            f"{unit} failed ({run.units[unit].last_exit}); the end of {self.layout.log(unit)}:\n{self._log_tail(unit)}"
        )

    def _log_tail(self, unit: str) -> str:
        return "\n".join(logfiles.tail(self.layout.log(unit), 15)) or "(empty)"
