"""An engine for tests that says what it is told to; it keeps the port's contract."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Sequence

from headrace_inference.ports import Chunk, Embeddings, Engine, EngineState, Generation, Scores, Usage


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
        self.served: list[Generation] = []
        self.open = 0
        """Requests in the engine now."""
        self.now = EngineState("ready")
        self.honest = True
        """Whether an answer ends with usage, as the port demands."""

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
                yield Chunk(finish_reason="stop", usage=Usage(input_tokens=3, output_tokens=len(self.words)))
        finally:
            self.open -= 1

    async def embed(self, texts: Sequence[str], *, truncate: bool) -> Embeddings:
        """The same vector of length 1 for every text."""
        return Embeddings([struct.pack("<2f", 0.6, 0.8) for _ in texts], Usage(input_tokens=len(texts)))

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        """Longer documents score higher."""
        return Scores([float(len(document)) for document in documents], Usage(input_tokens=len(documents)))

    async def health(self) -> EngineState:
        """See `Engine`."""
        return self.now

    async def load(self) -> None:
        """See `Engine`."""
        if self.error is not None:
            self.now = EngineState("failed", str(self.error))
            raise self.error
        self.now = EngineState("ready")

    async def unload(self) -> None:
        """See `Engine`."""
        self.now = EngineState("unloaded")
