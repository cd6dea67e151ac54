"""What the tests of hosted providers share."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from headrace_inference.ports import Chunk, Engine, Generation, Sampling
from headrace_kit.errors import HeadraceError

LITELLM_WARNS = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
"""About its own types."""

ANSWER = "The turbine is fed by a headrace."
LEVEL = {
    "type": "function",
    "function": {
        "name": "level",
        "description": "Level of a basin in metres.",
        "parameters": {"type": "object", "properties": {"basin": {"type": "string"}}, "required": ["basin"]},
    },
}
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
VENDORS = ("openai", "anthropic", "gemini")


def asking(text: str = "What feeds the turbine?", system: str = "Be brief.", **options: Any) -> Generation:
    """A request; `options` are of `Sampling`."""
    return Generation(
        messages=({"role": "system", "content": system}, {"role": "user", "content": text}),
        sampling=Sampling(**options),
    )


async def answer(engine: Engine, generation: Generation | None = None) -> list[Chunk]:
    """The whole answer."""
    async with aclosing(engine.generate(generation or asking())) as chunks:
        return [chunk async for chunk in chunks]


def text_of(chunks: list[Chunk]) -> str:
    """Their text."""
    return "".join(chunk.text for chunk in chunks)


async def failure(engine: Engine, generation: Generation | None = None) -> HeadraceError:
    """The error that an answer ends with."""
    with pytest.raises(HeadraceError) as caught:
        await answer(engine, generation)
    return caught.value
