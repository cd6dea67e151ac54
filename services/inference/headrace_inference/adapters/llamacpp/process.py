"""The child process that runs llama.cpp.

A process of its own because the library keeps Python's lock while it loads a model, seconds in which nothing else would
run, and because what kills it must not kill the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from headrace_kit.errors import Upstream
from headrace_kit.processes import Process

_PATIENCE_S = 5.0
_WORKER = "headrace_inference.adapters.llamacpp.worker"


class EngineProcess:
    """A loaded model in a process of its own. `start` makes it.

    Attributes:
        address: of the engine in it, see `EngineClient`.
    """

    def __init__(self, process: Process, address: Mapping[str, Any]) -> None:
        self.address = address
        self._process = process

    @classmethod
    async def start(cls, settings: Mapping[str, Any]) -> EngineProcess:
        """Load a model. Cancelling it ends the process.

        Raises:
            Upstream: it could not be loaded; the message says why.
        """
        process = await Process.start(sys.executable, "-m", _WORKER)
        try:
            process.stdin.write(json.dumps(settings).encode() + b"\n")
            line = await process.stdout.readline()
            reply: dict[str, Any] = (
                json.loads(line) if line else {"error": f"its process ended with {await process.wait()}"}
            )
        except BaseException:
            await _kill(process)
            raise
        if "error" in reply:
            await _kill(process)
            raise Upstream(str(reply["error"]), code="engine_failed")
        return cls(process, reply["address"])

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    async def ended(self) -> int:
        """Wait until the process ends; returns its exit status, negative for a signal."""
        return await self._process.wait()

    async def stop(self) -> None:
        """End the process."""
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _PATIENCE_S)
            return
        await _kill(self._process)


async def _kill(process: Process) -> None:
    process.kill()
    await asyncio.shield(process.wait())
