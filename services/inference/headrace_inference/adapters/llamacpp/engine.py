"""The engine port over llama.cpp in a child process, for machines without Triton."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from headrace_inference.adapters.llamacpp.checks import check
from headrace_inference.adapters.triton.wire import ALIVE, decode_chunk, encode_generation
from headrace_inference.ports import Chunk, Engine, EngineState, EngineStats, Generation
from headrace_inference.rendering.llamacpp import settings
from headrace_inference.rendering.places import Places
from headrace_kit.config.deployments import LlamaCppDeployment, entries_of
from headrace_kit.errors import HeadraceError, NotReady, Upstream

if TYPE_CHECKING:
    from headrace_inference.adapters.llamacpp.serving import Serving

_log = logging.getLogger(__name__)
_PACKAGES = ("xllamacpp", "llguidance")
_HEAL_EVERY_S = 10.0


class LlamaCppEngine(Engine):
    """A GGUF model on llama.cpp. A process that dies is started again in the background.

    Args:
        name: of the deployment.
        config: of the deployment.
        files: the catalogue's files on this machine.
    """

    def __init__(self, name: str, config: LlamaCppDeployment, files: Callable[[str], Mapping[str, Path]]) -> None:
        self._name = name
        self._config = config
        self._files = files
        self._serving: Serving | None = None
        self._state = EngineState("unloaded")
        self._loading = asyncio.Lock()
        self._guard: asyncio.Task[None] | None = None
        self._healed = -_HEAL_EVERY_S
        self._background: set[asyncio.Task[None]] = set()
        self._alive: set[Serving] = set()

    @property
    def pid(self) -> int:
        """Of the process that serves.

        Raises:
            NotReady: nothing is loaded.
        """
        return self._now().process.pid

    def check(self, generation: Generation) -> None:
        """See `Engine`."""
        check(generation, self._config)

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk, None]:
        """See `Engine`."""
        async with aclosing(self._now().generate(encode_generation(generation))) as documents:
            async for document in documents:
                if document != ALIVE:
                    yield decode_chunk(document)

    async def stats(self) -> EngineStats:
        """See `Engine`."""
        try:
            return EngineStats() if self._serving is None else await self._serving.stats()
        except (OSError, ValueError, http.client.HTTPException):
            return EngineStats()

    async def health(self) -> EngineState:
        """See `Engine`."""
        return self._state

    async def load(self) -> None:
        """See `Engine`. What is loaded serves on until the new one does, and then ends what it has begun."""
        async with self._loading:
            before = self._serving
            if before is None:
                self._state = EngineState("loading")
            try:
                serving = await self._started()
            except BaseException as error:
                if before is None:
                    why = error.message if isinstance(error, HeadraceError) else "loading was given up"
                    self._state = EngineState("failed", why)
                raise
            self._replace(serving)
            if before is not None:
                self._in_background(self._stop(before))

    async def unload(self) -> None:
        """See `Engine`."""
        async with self._loading:
            before = self._serving
            self._replace(None)
            self._state = EngineState("unloaded")
        if before is not None:
            await self._stop(before)

    async def close(self) -> None:
        """See `Engine`. Ends the process, and with it what is in work."""
        async with self._loading:
            self._replace(None)
        for task in self._background:
            task.cancel()
        while self._alive:
            await self._alive.pop().abandon()

    def _now(self) -> Serving:
        if self._serving is None:
            state = self._state
            raise NotReady(f"deployment {self._name!r} is {state.state}: {state.detail}".rstrip(": "), retry_after_s=1)
        return self._serving

    async def _started(self) -> Serving:
        missing = [package for package in _PACKAGES if importlib.util.find_spec(package) is None]
        if missing:
            raise Upstream(
                f"llama.cpp beside this service needs {' and '.join(missing)}: install headrace-inference[llamacpp]",
                code="engine_failed",
            )
        from headrace_inference.adapters.llamacpp.process import EngineProcess
        from headrace_inference.adapters.llamacpp.serving import Serving

        places = Places({entry: self._files(entry) for entry in entries_of(self._config)})
        wanted = settings(self._name, self._config, places)
        serving = Serving(await EngineProcess.start(wanted), wanted)
        self._alive.add(serving)
        return serving

    async def _stop(self, serving: Serving) -> None:
        await serving.stop()
        self._alive.discard(serving)

    def _replace(self, serving: Serving | None) -> None:
        """From here on requests go to `serving`."""
        if self._guard is not None:
            self._guard.cancel()
            self._guard = None
        self._serving = serving
        if serving is not None:
            self._state = EngineState("ready")
            self._guard = asyncio.create_task(self._watch(serving))

    async def _watch(self, serving: Serving) -> None:
        status = await serving.process.ended()
        _log.error("the llama.cpp process of deployment %s ended with %d", self._name, status)
        self._serving = None
        self._in_background(self._stop(serving))
        self._state = EngineState("failed", f"its process ended with {status}; it is started again")
        self._in_background(self._heal())

    async def _heal(self) -> None:
        await asyncio.sleep(max(0.0, self._healed + _HEAL_EVERY_S - time.monotonic()))
        self._healed = time.monotonic()
        if self._state.state == "failed":
            try:
                await self.load()
            except HeadraceError as error:
                _log.error("deployment %s could not be loaded again: %s", self._name, error.message)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
