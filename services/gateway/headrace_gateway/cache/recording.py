"""An answer on its way to the caller, written down for the next one."""

from __future__ import annotations

from headrace_gateway.cache.entry import Entry
from headrace_gateway.context import RequestContext
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk

_WHOLE = frozenset({"stop", "length"})


class Recording:
    """Takes the chunks of one answer, up to `limit` bytes.

    Kept is only what ended by itself: no tool calls (whoever reads them acts on them), nothing that a policy ended,
    nothing that broke off, and nothing that its model was not sure of.
    """

    def __init__(self, limit: int, spent_before: int) -> None:
        self._left = limit
        self._spent_before = spent_before
        self._chunks: list[bytes] = []
        self._open: set[int] = set()
        self._fits = True

    def take(self, chunk: GenerateChunk) -> None:
        """The next chunk, before it goes out."""
        if not self._fits:
            return
        if chunk.tool_calls:
            self._fits = False
            return
        self._open.add(chunk.index)
        if chunk.finish_reason:
            self._open.discard(chunk.index)
            if chunk.finish_reason not in _WHOLE:
                self._fits = False
                return
        raw = chunk.SerializeToString()
        self._left -= len(raw)
        self._fits = self._left >= 0
        if self._fits:
            self._chunks.append(raw)
        else:
            self._chunks.clear()

    def entry(self, ctx: RequestContext, question: str) -> Entry | None:
        """The answer, when all of it went out; None where it is not one to keep."""
        if not self._fits or self._open or not self._chunks or ctx.stopped or ctx.outcome.low_confidence:
            return None
        return Entry(
            chunks=self._chunks,
            usage=ctx.usage.SerializeToString(),
            deployment=ctx.outcome.deployment,
            cost_nano_usd=ctx.cost_nano_usd - self._spent_before,
            epochs=dict(ctx.epochs),
            question=question,
            citations=ctx.outcome.citations,
            findings=[found for found in ctx.outcome.guardrails if found.direction == "output"],
            grounding=ctx.outcome.grounding or None,
        )
