"""A loaded model and the requests that are in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from headrace_inference.adapters.llamacpp.calls import LocalCall
from headrace_inference.adapters.llamacpp.process import EngineProcess
from headrace_inference.ports import EngineStats
from headrace_inference.triton_models.llamacpp.connection import EngineClient
from headrace_inference.triton_models.llamacpp.serve import serve
from headrace_inference.triton_models.shared.answer_stream import Watcher
from headrace_kit.errors import Busy


class Serving:
    """One loaded model. Imports the packages of the extra `llamacpp`.

    Args:
        process: that has it.
        settings: it was loaded with.
    """

    def __init__(self, process: EngineProcess, settings: Mapping[str, Any]) -> None:
        self.process = process
        self._settings = settings
        self._client = EngineClient(process.address, settings)
        self._watcher = Watcher()
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def generate(self, document: bytes) -> AsyncGenerator[bytes, None]:
        """Chunk documents of the answer to a request document. Closing the generator cancels the request.

        Raises:
            Busy: as many requests as the settings allow are in work.
        """
        if self._open >= self._settings["max_in_flight"]:
            raise Busy("the engine's queue is full", code="engine_busy", retry_after_s=1)
        call = LocalCall(json.loads(document))
        self._open += 1
        self._idle.clear()
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, args=(call, loop), name="llamacpp", daemon=True).start()
        try:
            while (chunk := await call.chunks.get()) is not None:
                yield chunk
        finally:
            call.cancel()

    async def stats(self) -> EngineStats:
        """What the engine measures of itself. Raises OSError or ValueError when it does not answer."""
        return EngineStats(**await asyncio.to_thread(self._client.stats))

    async def stop(self) -> None:
        """End the process as soon as no request is in work."""
        await self._idle.wait()
        await self.process.stop()
        await asyncio.to_thread(self._watcher.close)

    async def abandon(self) -> None:
        """End the process at once; open requests fail."""
        await self.process.stop()
        await asyncio.to_thread(self._watcher.close)

    def _run(self, call: LocalCall, loop: asyncio.AbstractEventLoop) -> None:
        try:
            call.run(lambda it: serve(self._client, self._settings, it), self._watcher)
        finally:
            with contextlib.suppress(RuntimeError):  # the event loop has ended
                loop.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        self._open -= 1
        if not self._open:
            self._idle.set()
