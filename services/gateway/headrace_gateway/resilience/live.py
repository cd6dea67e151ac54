"""The stream of one attempt, which fails when its engine says nothing for too long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from headrace_gateway.resilience.attempt import Attempt
from headrace_gateway.resilience.retry import Try
from headrace_kit.config.resilience import Timeouts
from headrace_kit.errors import Upstream
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk


class Live:
    """An attempt that runs. Only the time in `next` counts as the engine's: a slow reader is not its fault.

    Whoever has one closes it.

    Args:
        this: the try that it is.
        attempt: hears of each chunk.
        chunks: the engine's answer.
        timeouts: the longest waits.
    """

    __slots__ = (
        "_between_s",
        "_cancelling",
        "_chunks",
        "_fired",
        "_limit_s",
        "_loop",
        "_since",
        "_task",
        "_timer",
        "attempt",
        "first",
        "this",
    )

    def __init__(
        self, this: Try, attempt: Attempt, chunks: AsyncGenerator[GenerateChunk, None], timeouts: Timeouts
    ) -> None:
        self.this, self.attempt = this, attempt
        self.first: GenerateChunk | None = None
        """Its first chunk, once it is there."""
        self._chunks = chunks
        self._limit_s: float | None = timeouts.first_token
        self._between_s: float | None = timeouts.between_tokens
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._since = 0.0
        self._fired = False

    async def next(self) -> GenerateChunk | None:
        """The next chunk; None at the end.

        Raises:
            Upstream: the engine said nothing for too long (`engine_stalled`), or ended without finishing its answer.
            HeadraceError: what the engine raised.
        """
        if self._limit_s is not None:
            self._expect(self._limit_s)
        try:
            chunk = await anext(self._chunks, None)
        except BaseException as error:
            task = self._task
            if self._fired and task is not None and task.uncancel() <= self._cancelling:
                raise Upstream(f"the engine said nothing for {self._limit_s:g} s", code="engine_stalled") from error
            raise
        finally:
            self._task = None
        if chunk is None:
            if not self.attempt.finish_reason:
                raise Upstream("the engine ended without finishing its answer", code="engine_failed")
            return None
        if self._limit_s is not self._between_s:
            self._stop_timer()
            self._limit_s = self._between_s
        self.attempt.saw(chunk)
        if chunk.HasField("usage"):  # the last one: nothing is waited for
            self._stop_timer()
            self._limit_s = self._between_s = None
        return chunk

    async def aclose(self) -> None:
        """Stop the engine, where it is still at work."""
        self._stop_timer()
        await self._chunks.aclose()

    def _expect(self, limit_s: float) -> None:
        """This task waits from now on, and is cancelled when nothing comes within `limit_s`."""
        task = self._task = asyncio.current_task(self._loop)
        assert task is not None
        self._cancelling = task.cancelling()
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(limit_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._task is None or self._limit_s is None:
            return  # nobody waits now
        due = self._since + self._limit_s
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._look)
            return
        self._fired = True
        self._task.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
