"""A whole answer, checked against the contract of `Engine.generate` while it is gathered."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field

from headrace_inference.ports import Chunk, Engine, Generation, Usage

FINISH_REASONS = {"stop", "length", "tool_calls", "content_filter"}


@dataclass
class Choice:
    """One choice of an answer."""

    text: str = ""
    finish: str = ""
    tokens: int = 0
    chunks: list[Chunk] = field(default_factory=list)

    @property
    def logprobs(self):
        return [entry for chunk in self.chunks for entry in chunk.logprobs]

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Name and arguments of each function call."""
        pieces = [call for chunk in self.chunks for call in chunk.tool_calls]
        return [
            (
                "".join(piece.name for piece in pieces if piece.index == index),
                "".join(piece.arguments for piece in pieces if piece.index == index),
            )
            for index in sorted({piece.index for piece in pieces})
        ]


@dataclass
class Whole:
    """A whole answer."""

    choices: dict[int, Choice]
    usage: Usage
    chunks: list[Chunk]

    @property
    def text(self) -> str:
        """Of the only choice."""
        (only,) = self.choices.values()
        return only.text

    @property
    def finish(self) -> str:
        (only,) = self.choices.values()
        return only.finish


async def gather(engine: Engine, generation: Generation) -> Whole:
    """The answer; fails where the stream breaks the contract."""
    async with aclosing(engine.generate(generation)) as stream:
        return whole([chunk async for chunk in stream])


def whole(chunks: list[Chunk]) -> Whole:
    """The answer that chunks make up; fails where they break the contract."""
    choices: dict[int, Choice] = {}
    for chunk in chunks[:-1]:
        assert chunk.usage is None, "usage is on the last chunk only"
    assert chunks, "the stream is empty"
    usage = chunks[-1].usage
    assert usage is not None, "the last chunk has usage"
    for chunk in chunks:
        choice = choices.setdefault(chunk.index, Choice())
        said = chunk.text or chunk.reasoning or chunk.tool_calls or chunk.tokens or chunk.finish_reason
        assert not choice.finish or not said, "nothing of a choice follows its finish reason"
        choice.text += chunk.text
        choice.tokens += chunk.tokens
        choice.chunks.append(chunk)
        if chunk.finish_reason:
            choice.finish = chunk.finish_reason
        if chunk.min_logprob is not None:
            assert chunk.sum_logprob <= chunk.min_logprob <= 0
    for index, choice in choices.items():
        assert choice.finish in FINISH_REASONS, f"choice {index} ended with {choice.finish!r}"
    return Whole(choices, usage, chunks)
