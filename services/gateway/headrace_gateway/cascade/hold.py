"""A stage's answer held back until there is a verdict on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

from headrace_gateway.cascade.signals import Confidence
from headrace_kit.config.cascades import Early
from headrace_kit.ending import end
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk


class Hold:
    """Reads an answer and keeps it.

    Whoever has one calls `until`, then either reads `chunks` to their end or not at all, and in any case `aclose`.

    Args:
        answer: of one stage; closed with this.
        confidence: told of each piece.
        clock: seconds.
    """

    def __init__(
        self,
        answer: AsyncGenerator[GenerateChunk, None],
        confidence: Confidence,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answer, self.confidence, self._clock = answer, confidence, clock
        self._coming: asyncio.Task[GenerateChunk | None] | None = None
        self.held: list[GenerateChunk] = []
        self.complete = False
        """Whether all of the answer is held: nothing more will come."""
        self.late = False
        """Whether time ran out before there was enough to judge by."""
        self.calls_tools = False

    async def until(self, early: Early | None) -> None:
        """Hold the answer until it is complete, or until its beginning is there.

        The beginning is as many tokens as `early` says, or what has come when text was held for its `hold_ms`. An
        answer that calls tools is held whole: a piece of a call is of no use to anybody.

        Raises:
            HeadraceError: the stage failed before.
        """
        due: float | None = None
        while True:
            if early is None or due is None or self.calls_tools:
                chunk = await self._next()
            else:
                chunk = await self._next_within(due - self._clock())
                if self.late:
                    return
            if chunk is None:
                self.complete = True
                return
            self.held.append(chunk)
            self.confidence.add(chunk)
            self.calls_tools = self.calls_tools or bool(chunk.tool_calls)
            if chunk.HasField("usage"):
                self.complete = True  # the last piece: the attempt stays open until there is a verdict
                return
            if early is not None and not self.calls_tools:
                if self.confidence.tokens >= early.tokens:
                    return
                if due is None and (chunk.text or chunk.reasoning):
                    due = self._clock() + early.hold_ms / 1000

    async def chunks(self) -> AsyncGenerator[GenerateChunk, None]:
        """What was held, then what comes: an accepted answer."""
        held, self.held = self.held, []
        for chunk in held:
            yield chunk
        if self._coming is not None and (next_one := await self._next()) is not None:
            yield next_one
        async for chunk in self._answer:
            yield chunk

    async def aclose(self) -> None:
        """Stop the engine if it is still at work."""
        await end(self._coming)
        self._coming = None
        await self._answer.aclose()

    async def _next(self) -> GenerateChunk | None:
        """The next piece; None at the end."""
        if self._coming is None:
            return await anext(self._answer, None)
        try:
            return await asyncio.shield(self._coming)
        finally:
            if self._coming.done():
                self._coming = None

    async def _next_within(self, seconds: float) -> GenerateChunk | None:
        """The same, or `late` when nothing came in time; what comes later is not lost."""
        if self._coming is None:
            self._coming = asyncio.ensure_future(self._pull())
        done, _ = await asyncio.wait({self._coming}, timeout=max(0.0, seconds))
        if not done:
            self.late = True
            return None
        coming, self._coming = self._coming, None
        return coming.result()

    async def _pull(self) -> GenerateChunk | None:
        return await anext(self._answer, None)
