"""What a span was given and what it made: turns, passages and options, apart from its attributes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

CAPTURES = ("off", "redacted", "full")
"""How much of the content of a trace is kept; a store may keep the position."""

QUESTION_CHARS = 200
_CITED = re.compile(r"\[(\d{1,3})\]")


class Turn(Struct, omit_defaults=True, frozen=True):
    """One message. `more` is JSON text of what is no text: calls of tools, images."""

    role: str
    text: str = ""
    more: str = ""


class PassageSeen(Struct, omit_defaults=True, frozen=True):
    """A passage that stood in the prompt, or that a retriever gave. See the proto's `Passage`."""

    number: int = 0
    collection: str = ""
    document_id: str = ""
    chunk_id: str = ""
    title: str = ""
    text: str = ""
    score: float | None = None
    start: int = 0
    end: int = 0
    page: int = 0
    quotes: tuple[str, ...] = ()


class Content(Struct, omit_defaults=True, frozen=True):
    """All of one span. `options` is JSON text of the request's options."""

    input: tuple[Turn, ...] = ()
    output: tuple[Turn, ...] = ()
    passages: tuple[PassageSeen, ...] = ()
    options: str = ""

    def __bool__(self) -> bool:
        return bool(self.input or self.output or self.passages or self.options)

    @property
    def question(self) -> str:
        """The beginning of the last thing that the user said, in one line."""
        for turn in reversed(self.input):
            if turn.role == "user" and turn.text:
                return " ".join(turn.text[: 4 * QUESTION_CHARS].split())[:QUESTION_CHARS]
        return ""

    @property
    def words(self) -> str:
        """Everything that a search over the text should find."""
        texts = [turn.text for turn in (*self.input, *self.output)]
        return "\n".join([*texts, *(f"{passage.title} {passage.text}" for passage in self.passages)])

    def mapped(self, change: Callable[[str], str]) -> Content:
        """The same with every text changed."""
        return Content(
            _turns(self.input, change),
            _turns(self.output, change),
            tuple(
                msgspec.structs.replace(
                    passage,
                    title=change(passage.title),
                    text=change(passage.text),
                    document_id=change(passage.document_id),
                    chunk_id=change(passage.chunk_id),
                    quotes=tuple(map(change, passage.quotes)),
                )
                for passage in self.passages
            ),
            change(self.options),
        )


def _turns(turns: Sequence[Turn], change: Callable[[str], str]) -> tuple[Turn, ...]:
    return tuple(Turn(change(turn.role), change(turn.text), change(turn.more)) for turn in turns)


def cited(content: Content) -> set[int]:
    """Numbers of passages that the answer's citations quote, or that it names, as `[2]`."""
    named = {int(number) for turn in content.output for number in _CITED.findall(turn.text)}
    return named | {passage.number for passage in content.passages if passage.quotes}


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Content)


def packed(content: Content) -> bytes:
    """Content as bytes; `unpacked` reads them."""
    return _encode(content)


def unpacked(raw: bytes) -> Content:
    """What `packed` wrote."""
    return _decoder.decode(raw)


def plain_json(value: Any) -> str:
    """A value as JSON text; empty for nothing."""
    return _encode(value).decode() if value else ""
