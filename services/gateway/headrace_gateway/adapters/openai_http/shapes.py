"""What endpoints send, as far as it is read: OpenAI's objects, whole and in pieces."""

from __future__ import annotations

from typing import Any

from msgspec import MsgspecError, Struct, json


class Function(Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class Call(Struct):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[Call] | None = None


class Alternative(Struct, gc=False):
    token: str
    logprob: float | None = None


class Entry(Struct):
    token: str
    logprob: float | None = None
    top_logprobs: list[Alternative] | None = None


class Logprobs(Struct):
    """Of a chat (`content`) or of a completion (the other three)."""

    content: list[Entry] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


class Choice(Struct):
    """`delta` in a stream, `message` in a whole answer, `text` in both for a completion."""

    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class PromptDetails(Struct, gc=False):
    cached_tokens: int | None = None


class OutputDetails(Struct, gc=False):
    reasoning_tokens: int | None = None


class UsageInfo(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: OutputDetails | None = None


class Completion(Struct):
    """A whole answer or a chunk of one; or an error, with status 200 as well as with another."""

    choices: list[Choice] | None = None
    usage: UsageInfo | None = None
    error: dict[str, Any] | str | None = None


class Vector(Struct):
    embedding: list[float]
    index: int = 0


class Vectors(Struct):
    data: list[Vector] | None = None
    usage: UsageInfo | None = None
    error: dict[str, Any] | str | None = None


class Refusal(Struct):
    """The body of a response that is not 200."""

    error: dict[str, Any] | str | None = None


UNREADABLE = (MsgspecError, UnicodeDecodeError, RecursionError)
"""What the decoders raise for bytes that are not of their type."""

completion = json.Decoder(Completion)
vectors = json.Decoder(Vectors)
refusal = json.Decoder(Refusal)
