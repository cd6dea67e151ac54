"""The process that keeps a platform running: `python -m headrace_local.supervisor <plan file> <state file> [<pid>]`.

It is started by `headrace_local.platform`, which hands down the data directory's lock. It starts the plan's units in
order, all at once where nothing stands between them, and stops them in the opposite order on SIGTERM, SIGINT or a
request. It imports little: it is there for as long as the platform is.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
from pathlib import Path

import msgspec

from headrace_local import control, logfiles, processes, state
from headrace_local.layout import Layout
from headrace_local.runner import Pace, Surroundings, UnitRunner
from headrace_local.units import Plan, check

logger = logging.getLogger(__name__)

CARE_S = 2
"""Seconds between two rounds of rotating logs and reaping orphans."""


class Supervisor:
    """Runs a plan from `run()` until it is asked to stop."""

    def __init__(self, plan: Plan, state_file: Path, *, pace: Pace | None = None) -> None:
        check(plan.units)
        self._plan = plan
        self._layout = Layout(Path(plan.data_dir))
        self._state_file = state_file
        self._stop = asyncio.Event()
        own_start = processes.started(os.getpid())
        assert own_start is not None  # this very process runs
        self._state = state.RunState(
            run_id=plan.run_id,
            supervisor_pid=os.getpid(),
            supervisor_started=own_start,
            control_port=0,
            control_token=secrets.token_urlsafe(24),
            facts=plan.facts,
            units={unit.name: state.UnitState(kind=unit.kind) for unit in plan.units},
        )
        around = Surroundings(
            env={**os.environ, processes.RUN_ID: plan.run_id},
            log=self._layout.log,
            changed=self._publish,
            pace=pace or Pace(),
        )
        self._around = around
        self._runners = {unit.name: UnitRunner(unit, self._state.units[unit.name], around) for unit in plan.units}

    async def run(self) -> None:
        """Start everything, keep it running, and return when everything is stopped."""
        processes.become_subreaper()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        server, self._state.control_port = await control.serve(self._state.control_token, self._handle)
        self._publish()
        lives = [
            asyncio.create_task(runner.run([self._runners[name] for name in runner.unit.after]))
            for runner in self._runners.values()
        ]
        care = asyncio.create_task(self._care())
        stop = asyncio.create_task(self._stop.wait())
        try:
            # a life ends early only by a fault of ours: then stop rather than go on half blind
            while not stop.done() and not any(life.done() and life.exception() for life in lives):
                pending = [life for life in lives if not life.done()]
                await asyncio.wait({stop, *pending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._state.stopping = True
            self._publish()
            await self._stop_all()
            for task in (care, stop, *lives):
                task.cancel()
            for ending in await asyncio.gather(*lives, return_exceptions=True):
                if isinstance(ending, Exception):
                    logger.error("a unit was lost sight of", exc_info=ending)
            server.close()
            self._state_file.unlink(missing_ok=True)

    def _publish(self) -> None:
        state.write(self._state_file, self._state)

    async def _stop_all(self) -> None:
        """Stop every unit as soon as all units that need it are stopped."""
        gone = {name: asyncio.Event() for name in self._runners}

        async def stop(runner: UnitRunner) -> None:
            name = runner.unit.name
            for other in self._plan.units:
                if name in other.after or name in other.uses:
                    await gone[other.name].wait()
            await runner.stop()
            gone[name].set()

        await asyncio.gather(*(stop(runner) for runner in self._runners.values()))

    async def _care(self) -> None:
        while True:
            await asyncio.sleep(CARE_S)
            processes.reap(self._around.waited_for)
            for name in self._runners:
                with contextlib.suppress(OSError):  # a full disk must not end the supervision
                    logfiles.rotate(self._layout.log(name))

    async def _handle(self, request: control.Request) -> None:
        if request.action == "stop":
            self._stop.set()
            return
        runner = self._runners.get(request.unit or "")
        if runner is None:
            raise control.ControlError(f"no unit named {request.unit}; there are {', '.join(self._runners)}")
        if self._stop.is_set():
            raise control.ControlError("the platform is stopping")
        if request.action in ("stop_unit", "restart_unit"):
            await runner.stop()
        if request.action in ("start_unit", "restart_unit"):
            runner.start()


def main(plan_file: str, state_file: str, bound_to: str = "") -> None:
    """Run the plan in a file until stopped, or until the process `bound_to`, which started this one, ends."""
    if bound_to:
        processes.die_with_parent(signal.SIGTERM, int(bound_to))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    plan = msgspec.json.decode(Path(plan_file).read_bytes(), type=Plan)
    logger.info("run %s: %s", plan.run_id, ", ".join(unit.name for unit in plan.units))
    asyncio.run(Supervisor(plan, Path(state_file)).run())
    logger.info("everything is stopped")


if __name__ == "__main__":
    main(*sys.argv[1:])
