"""Checks in worker processes: guardrails-ai's validators, and spaCy's names. Heavy imports stay there.

A worker loads what it is asked for once and keeps it. It has no event loop to hold up; one that hangs is ended and
another takes its place, so a validator that never comes back costs its own time limit and a worker, nothing else.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from headrace_detectors import Action, Extra, Finding
from headrace_guardrails.ports import Subject
from headrace_kit.config.guardrails import NamesCheck, ValidatorCheck
from headrace_kit.errors import NotReady, Upstream

_MOST_BYTES = 64 << 20
_RC = "enable_metrics=false\nuse_remote_inferencing=false\n"
"""guardrails-ai's settings file, which it reads from the home folder: no telemetry, nothing asked elsewhere."""
_OFF = {"OTEL_SDK_DISABLED": "true", "GUARDRAILS_RUN_SYNC": "true", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
"""What keeps libraries in a worker from calling home."""


class _Ended(Upstream):
    """The process is gone."""


class _Worker:
    """One process, one job at a time: a line of JSON in, a line out."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def ask(self, job: bytes) -> Any:
        """The answer to a job. Raises Upstream."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(job + b"\n")
            await stdin.drain()
            line = await stdout.readline()
        except (OSError, ValueError) as error:
            raise _Ended("a worker of checks ended") from error
        if not line:
            raise _Ended("a worker of checks ended")
        answer = json.loads(line)
        if "error" in answer:
            raise Upstream(f"the check failed in its worker: {answer['error']}")
        return answer["findings"]

    async def end(self) -> None:
        """Kill it; it holds nothing that has to be kept."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


class Workers:
    """A pool of worker processes, started when they are first needed.

    Args:
        most: processes at one time; 0 refuses jobs.
    """

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._free = asyncio.Condition()
        self._home: TemporaryDirectory[str] | None = None

    async def ask(self, job: dict[str, Any]) -> Any:
        """Run a job in a worker. Cancel it, as a time limit does, and the worker is ended with it.

        Raises:
            NotReady: there are no workers.
            Upstream: the job failed.
        """
        worker = await self._take()
        done = False
        try:
            answer = await worker.ask(json.dumps(job).encode())
            done = True
            return answer
        except _Ended:
            raise
        except Upstream:
            done = True  # it answered that it could not
            raise
        finally:
            if not done:
                # At once, and without waiting: a cancel must not.
                if worker.process.returncode is None:
                    worker.process.kill()
                self._all.discard(worker)
            else:
                self._idle.append(worker)
            asyncio.get_running_loop().call_soon(self._tell)

    async def stop(self) -> None:
        """End all workers."""
        for worker in list(self._all):
            await worker.end()
        self._all.clear()
        self._idle.clear()
        if self._home is not None:
            self._home.cleanup()
            self._home = None

    def _home_folder(self) -> str:
        """A home folder of the workers' own."""
        if self._home is None:
            self._home = TemporaryDirectory(prefix="headrace-guardrails-")
            (Path(self._home.name) / ".guardrailsrc").write_text(_RC)
        return self._home.name

    def _tell(self) -> None:
        self._notifying = asyncio.ensure_future(self._notify())

    async def _notify(self) -> None:
        async with self._free:
            self._free.notify()

    async def _take(self) -> _Worker:
        most = self._most()
        if most == 0:
            raise NotReady("services.guardrails.workers is 0: checks that need a worker cannot run")
        async with self._free:
            while True:
                while self._idle:
                    worker = self._idle.pop()
                    if worker.process.returncode is None:
                        return worker
                    self._all.discard(worker)
                if len(self._all) < most:
                    break
                await self._free.wait()
            worker = _Worker(await _start(self._home_folder()))
            self._all.add(worker)
            return worker


async def _start(home: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "headrace_guardrails.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **_OFF, "HOME": home},
        limit=_MOST_BYTES,
    )


class ValidatorJudge:
    """Fulfils `Judge` by a validator of guardrails-ai."""

    def __init__(self, check: ValidatorCheck, workers: Workers) -> None:
        self._check, self._workers = check, workers

    @property
    def version(self) -> str:
        """See `Judge`."""
        return self._check.name

    async def judge(self, text: str, subject: Subject) -> Sequence[Extra]:
        """See `Judge`. Raises Upstream."""
        job = {"do": "validator", "name": self._check.name, "arguments": self._check.arguments, "text": text}
        spans = await self._workers.ask(job)
        action = Action(self._check.action)
        return [Extra(Finding("validator", self._check.name, start, end, 1.0, action)) for _, start, end in spans]


class NamesJudge:
    """Fulfils `Judge` by spaCy's names."""

    def __init__(self, check: NamesCheck, workers: Workers) -> None:
        self._check, self._workers = check, workers

    @property
    def version(self) -> str:
        """See `Judge`."""
        return self._check.model

    async def judge(self, text: str, subject: Subject) -> Sequence[Extra]:
        """See `Judge`. Raises Upstream."""
        job = {"do": "names", "model": self._check.model, "kinds": list(self._check.kinds), "text": text}
        action = Action(self._check.action)
        return [
            Extra(Finding("names", kind, start, end, 0.8, action), text[start:end].casefold())
            for kind, start, end in await self._workers.ask(job)
        ]
