"""A streamed answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import TracebackType

from headrace.errors import StreamBroken
from headrace.types.chat import ChatChunk, Outcome, Usage


class ChatStream:
    """Iterate over it for chunks; leave its `async with` block, or call `aclose`, to stop the answer at the engine.

    Attributes:
        text: what the first choice's chunks added up to so far.
        finish_reason: why the first choice ended; None while it goes on.
        usage: tokens; None until the last chunk.
        headrace: what headrace did for the request; empty until the last chunk with a finish reason.
    """

    def __init__(self, chunks: AsyncGenerator[ChatChunk, None]) -> None:
        self._chunks = chunks
        self._pieces: list[str] = []
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.headrace = Outcome()

    @property
    def text(self) -> str:
        """What was received so far."""
        return "".join(self._pieces)

    def __aiter__(self) -> ChatStream:
        return self

    async def __anext__(self) -> ChatChunk:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            if self.finish_reason is None:
                raise StreamBroken("the stream ended without a finish reason") from None
            raise
        self._note(chunk)
        return chunk

    async def __aenter__(self) -> ChatStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop; the connection is closed, or the call cancelled, when this returns."""
        await self._chunks.aclose()

    def _note(self, chunk: ChatChunk) -> None:
        if chunk.text:
            self._pieces.append(chunk.text)
        for choice in chunk.choices:
            if choice.index == 0 and choice.finish_reason:
                self.finish_reason = choice.finish_reason
        self.usage = chunk.usage or self.usage
        self.headrace = chunk.headrace or self.headrace
