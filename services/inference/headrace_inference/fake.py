"""An engine for tests that says what it is told to; it keeps the port's contract."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from headrace_inference.ports import (
    Chunk,
    Embeddings,
    Engine,
    EngineState,
    EngineStats,
    Generation,
    Labels,
    Scores,
    Usage,
)
from headrace_kit.errors import BadInput


class FakeEngine(Engine):
    """Streams `words`, then ends.

    Args:
        words: one chunk each.
        error: raised after `fail_after` words.
        gate: when given, awaited before the first word, so that a test decides when a request goes on.
    """

    def __init__(
        self,
        words: Sequence[str] = ("a", "b"),
        error: Exception | None = None,
        fail_after: int = 0,
        gate: asyncio.Event | None = None,
    ) -> None:
        self.words = words
        self.error = error
        self.fail_after = fail_after
        self.gate = gate
        self.load_gate: asyncio.Event | None = None
        """When given, awaited by each load."""
        self.load_error: Exception | None = None
        """Raised by the next loads."""
        self.cannot = ""
        """A field that `check` refuses."""
        self.served: list[Generation] = []
        self.loads = 0
        self.unloads = 0
        self.closed = False
        self.open = 0
        """Requests in the engine now."""
        self.now = EngineState("ready")
        self.measured = EngineStats()
        self.acceptance: float | None = None
        """With drafts: share that is accepted; each answer has drafted as many tokens as it has words."""
        self.honest = True
        """Whether an answer ends with usage, as the port demands."""

    def check(self, generation: Generation) -> None:
        """See `Engine`."""
        if self.cannot:
            raise BadInput(f"this engine has no {self.cannot}", code="unsupported", param=self.cannot)

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk, None]:
        """See `Engine`."""
        self.served.append(generation)
        self.open += 1
        try:
            if self.gate is not None:
                await self.gate.wait()
            for number, word in enumerate(self.words):
                if self.error is not None and number == self.fail_after:
                    raise self.error
                yield Chunk(text=word, tokens=1, sum_logprob=-0.5, min_logprob=-0.5)
            if self.error is not None:
                raise self.error
            if self.honest:
                yield Chunk(finish_reason="stop", usage=self._usage(generation))
        finally:
            self.open -= 1

    async def embed(self, texts: Sequence[str], *, truncate: bool) -> Embeddings:
        """The same vector of length 1 for every text."""
        return Embeddings([struct.pack("<2f", 0.6, 0.8) for _ in texts], Usage(input_tokens=len(texts)))

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        """Longer documents score higher."""
        return Scores([float(len(document)) for document in documents], Usage(input_tokens=len(documents)))

    async def classify(self, texts: Sequence[str]) -> Labels:
        """Texts with a question mark are questions."""
        return Labels([{"question": float("?" in text)} for text in texts], Usage(input_tokens=len(texts)))

    async def stats(self) -> EngineStats:
        """See `Engine`."""
        return self.measured

    async def health(self) -> EngineState:
        """See `Engine`."""
        return self.now

    async def load(self) -> None:
        """See `Engine`."""
        self.loads += 1
        if self.load_gate is not None:
            await self.load_gate.wait()
        if self.load_error is not None:
            self.now = EngineState("failed", str(self.load_error))
            raise self.load_error
        self.now = EngineState("ready")

    async def close(self) -> None:
        """See `Engine`."""
        self.closed = True

    async def unload(self) -> None:
        """See `Engine`."""
        self.unloads += 1
        self.now = EngineState("unloaded")

    def _usage(self, generation: Generation) -> Usage:
        said = len(self.words)
        usage = Usage(input_tokens=3, output_tokens=said)
        if self.acceptance is None or generation.max_draft_tokens == 0:
            return usage
        return replace(usage, draft_tokens=said, accepted_draft_tokens=int(said * self.acceptance))
