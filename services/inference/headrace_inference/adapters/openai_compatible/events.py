"""Server-sent events with OpenAI's chunks, decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from headrace_kit.errors import Upstream

MAX_EVENT_BYTES = 16 << 20
_DONE = b"[DONE]"


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[Call] | None = None


class Alternative(msgspec.Struct):
    token: str
    logprob: float | None = None


class Entry(msgspec.Struct):
    token: str
    logprob: float | None = None
    top_logprobs: list[Alternative] | None = None


class Logprobs(msgspec.Struct):
    """Of a chat (`content`) or of a completion (the other three)."""

    content: list[Entry] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


class Choice(msgspec.Struct):
    index: int = 0
    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class UsageInfo(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: OutputDetails | None = None


class Event(msgspec.Struct):
    """One chunk, or an error: OpenAI's object, a bare text (TGI), or fields beside `object: error` (SGLang)."""

    choices: list[Choice] | None = None
    usage: UsageInfo | None = None
    error: dict[str, Any] | str | None = None
    error_type: str | None = None
    object: str | None = None
    message: str | None = None
    code: int | str | None = None
    type: str | None = None


_DECODER = msgspec.json.Decoder(Event)


class Events:
    """Splits a stream of bytes into events.

    Attributes:
        done: the server said that nothing follows.
    """

    def __init__(self) -> None:
        self.done = False
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Event]:
        """Events that `data` completes.

        Raises:
            Upstream: it is not a stream of events.
        """
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_EVENT_BYTES:
            raise Upstream("the engine's server sent an event that has no end", code="engine_failed")
        for line in lines:
            # `event:` and `id:` lines, comments that keep the connection alive, and the empty line after each event
            if not line.startswith((b"data:", b"error:")):
                continue
            name, _, payload = line.partition(b":")
            payload = payload.strip()
            if payload == _DONE:
                self.done = True
                continue
            yield _decoded(payload if name == b"data" else b'{"error":' + payload + b"}")


def _decoded(payload: bytes) -> Event:
    try:
        return _DECODER.decode(payload)
    except msgspec.MsgspecError as error:
        raise Upstream("the engine's server sent something that is not a chunk", code="engine_failed") from error
