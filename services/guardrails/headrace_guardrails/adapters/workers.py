"""A pool of worker processes for checks that are heavy to import or may hang.

A worker has no event loop to hold up; one that hangs is ended and another takes its place, so a validator that never
comes back costs its own time limit and a worker, nothing else.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from headrace_kit.errors import NotReady, Upstream
from headrace_kit.processes import Process

Job = Mapping[str, Any]
"""What a worker is told to do: see `headrace_guardrails.worker`."""

_MOST_BYTES = 64 << 20
_RC = "enable_metrics=false\nuse_remote_inferencing=false\n"
"""guardrails-ai's settings file, which it reads from the home folder: no telemetry, nothing asked elsewhere."""
_OFF = {"OTEL_SDK_DISABLED": "true", "GUARDRAILS_RUN_SYNC": "true", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
"""What keeps libraries in a worker from calling home."""
_log = logging.getLogger(__name__)


class _Failed(Upstream):
    """The worker answered that it could not."""


class _Ended(Upstream):
    """The process is gone."""


class _Worker:
    """One process, one job at a time: a line of JSON in, a line out. `loaded` names what it has in memory."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.loaded: set[str] = set()

    async def ask(self, job: bytes) -> Any:
        """The answer to a job. Raises Upstream."""
        try:
            self.process.stdin.write(job + b"\n")
            await self.process.stdin.drain()
        except OSError as error:
            raise _Ended("a worker of checks ended") from error
        return await self.answer()

    async def answer(self) -> Any:
        """The answer to the job that it has. Raises Upstream."""
        try:
            line = await self.process.stdout.readline()
        except (OSError, ValueError) as error:
            raise _Ended("a worker of checks ended") from error
        if not line:
            raise _Ended("a worker of checks ended")
        answer = json.loads(line)
        if "error" in answer:
            raise _Failed(f"the check failed in its worker: {answer['error']}")
        return answer["findings"]

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.returncode is None

    def kill(self) -> None:
        """End it at once; it holds nothing that has to be kept."""
        if self.alive:
            self.process.kill()

    async def gone(self) -> None:
        """Return once the process has ended and is reaped."""
        await self.process.wait()


class Workers:
    """A pool of worker processes. What a job needs is loaded first, in the background and outside its time limit:
    importing a library takes seconds, and a job whose limit is shorter must not end the worker each time.

    Args:
        most: processes at one time; 0 refuses jobs.
        load_s: seconds that loading may take before the worker is ended.
        grace_s: seconds in which a job that nobody waits for any more may end: another check may have blocked the
            text, and a new worker costs more.
    """

    def __init__(self, most: Callable[[], int], load_s: float = 120, grace_s: float = 2) -> None:
        self._most, self._load_s, self._grace_s = most, load_s, grace_s
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: Counter[str] = Counter()
        self._starting = 0
        self._stopped = False
        self._home: TemporaryDirectory[str] | None = None

    async def ask(self, job: Job) -> Any:
        """Run a job in a worker. Cancel it, as a time limit does, and the worker is ended unless it answers soon.

        Raises:
            NotReady: there are no workers.
            Upstream: the job failed.
        """
        worker = await self._take(job)
        try:
            answer = await worker.ask(json.dumps(job).encode())
        except _Failed:
            self._give_back(worker)  # it answered that it could not
            raise
        except asyncio.CancelledError:
            self._spawn(self._settle(worker))
            raise
        except BaseException:
            self._drop(worker)
            raise
        self._give_back(worker)
        return answer

    def warm(self, job: Job) -> None:
        """Load what jobs like this one need, in the background. Needs a running event loop."""
        if self._most():
            self._spawn(self._warm(job))

    async def stop(self) -> None:
        """End all workers."""
        self._stopped = True
        for worker in list(self._all):
            self._drop(worker)
        self._tell()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._home is not None:
            self._home.cleanup()
            self._home = None

    async def _warm(self, job: Job) -> None:
        with suppress(NotReady):
            self._give_back(await self._take(job))

    async def _settle(self, worker: _Worker) -> None:
        """Wait a little for an answer that nobody wants, and end the worker if it does not come."""
        try:
            async with asyncio.timeout(self._grace_s):
                await worker.answer()
        except _Failed:
            self._give_back(worker)
        except (TimeoutError, Upstream):
            self._drop(worker)
        else:
            self._give_back(worker)

    async def _take(self, job: Job) -> _Worker:
        """An idle worker that has loaded what the job needs."""
        load = _load_of(job)
        async with self._changed:
            while True:
                if self._stopped:
                    raise NotReady("the service stops")
                if self._most() == 0:
                    raise NotReady("services.guardrails.workers is 0: checks that need a worker cannot run")
                for worker in [one for one in self._idle if not one.alive]:
                    self._drop(worker)
                for worker in self._idle:
                    if load in worker.loaded:
                        self._idle.remove(worker)
                        return worker
                if self._idle and not self._loading[load]:
                    self._prepare(load, self._idle.pop())
                elif len(self._all) + self._starting < self._most():
                    self._prepare(load, None)
                await self._changed.wait()

    def _prepare(self, load: str, worker: _Worker | None) -> None:
        self._loading[load] += 1
        self._starting += worker is None
        self._spawn(self._load(load, worker))

    async def _load(self, load: str, worker: _Worker | None) -> None:
        """Have a worker load something; a new one where none is given."""
        try:
            if worker is None:
                try:
                    worker = _Worker(await _start(self._home_folder()))
                finally:
                    self._starting -= 1
                self._all.add(worker)
                if self._stopped:
                    raise _Ended("the service stops")
            async with asyncio.timeout(self._load_s):
                with suppress(_Failed):  # each job will say so for itself
                    await worker.ask(load.encode())
            worker.loaded.add(load)
        except (TimeoutError, OSError, Upstream) as error:
            _log.warning("a worker of checks could not load what it needs: %s", type(error).__name__)
            if worker is not None:
                self._drop(worker)
        else:
            self._give_back(worker)
        finally:
            self._loading[load] -= 1
            self._tell()

    def _give_back(self, worker: _Worker) -> None:
        if worker in self._all:
            self._idle.append(worker)
        self._tell()

    def _drop(self, worker: _Worker) -> None:
        worker.kill()
        self._all.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        self._spawn(worker.gone())
        self._tell()

    def _tell(self) -> None:
        self._spawn(self._notify())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _home_folder(self) -> str:
        """A home folder of the workers' own; what validators write for a moment goes there too."""
        if self._home is None:
            self._home = TemporaryDirectory(prefix="headrace-guardrails-")
            (Path(self._home.name) / ".guardrailsrc").write_text(_RC)
        return self._home.name


def _load_of(job: Job) -> str:
    """The job that loads what another needs: the same without its text."""
    wanted = {key: value for key, value in job.items() if key != "text"}
    return json.dumps({"do": "load", "job": wanted}, sort_keys=True)


async def _start(home: str) -> Process:
    return await Process.start(
        sys.executable,
        "-m",
        "headrace_guardrails.worker",
        env={**os.environ, **_OFF, "HOME": home, "TMPDIR": home},
        limit=_MOST_BYTES,
        silent=True,  # what a library prints may quote the text
    )
