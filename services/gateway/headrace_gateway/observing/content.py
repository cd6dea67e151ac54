"""What a request said and was answered, kept by reference on its path and written out off it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from google.protobuf.json_format import MessageToDict

from headrace_gateway.calls import GenerateCall
from headrace_gateway.outcome import GuardFinding
from headrace_kit.telemetry import genai
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message, ToolCall
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk
from headrace_protos.retrieval.v1.messages_pb2 import Passage

MOST_CHARS = 98_304
"""Characters of one request's content that a trace keeps: of each of input, answer and passages a third."""

_THIRD = MOST_CHARS // 3
_CUT = "…"
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Captured:
    """The content of one request. Messages are those of the call, as the guardrails left them.

    `chars` is about how much of the answer is held.
    """

    call: GenerateCall
    messages: Sequence[Message]
    prompt: str
    passages: Sequence[Passage] = ()
    texts: dict[int, list[str]] = field(default_factory=dict)
    calls: list[ToolCall] = field(default_factory=list)
    chars: int = 0

    def before_grounding(self, passages: Sequence[Passage]) -> None:
        """Keep the messages as they are now: passages are put into them next."""
        kept = [Message() for _ in self.messages]
        for copy, message in zip(kept, self.messages, strict=True):
            copy.CopyFrom(message)
        self.messages, self.prompt, self.passages = kept, self.call.prompt, passages

    def saw(self, chunk: GenerateChunk) -> None:
        """A piece goes out."""
        if self.chars > _THIRD:
            return
        if chunk.text:
            self.chars += len(chunk.text)
            self.texts.setdefault(chunk.index, []).append(chunk.text)
        for call in chunk.tool_calls:
            self.chars += len(call.arguments)
            self.calls.append(call)


def captured(call: GenerateCall) -> Captured:
    """Begin to keep a call's content; nothing is copied yet."""
    return Captured(call, call.messages, call.prompt)


def found(findings: Sequence[GuardFinding]) -> list[str]:
    """What guardrails found, as spans tell it."""
    return [f"{one.direction}:{one.check}.{one.kind}:{one.action}:{one.count}" for one in findings]


def attributes(content: Captured) -> dict[str, str]:
    """The content as attributes: JSON texts in the shape of the GenAI conventions."""
    left = _Left(_THIRD)
    if content.prompt:
        messages = [{"role": "user", "parts": [{"type": "text", "content": left.take(content.prompt)}]}]
    else:
        # The last messages are what an answer is about: where there is too much, the first go short.
        messages = [_message(message, left) for message in reversed(content.messages)][::-1]
    made = {genai.INPUT_MESSAGES: _encode(messages).decode(), genai.OPTIONS: _encode(_options(content.call)).decode()}
    if content.texts or content.calls:
        made[genai.OUTPUT_MESSAGES] = _encode(list(_answers(content))).decode()
    if content.passages:
        room = _Left(_THIRD)
        made[genai.PASSAGES] = _encode([_passage(*entry, room) for entry in enumerate(content.passages, 1)]).decode()
    return made


class _Left:
    """How many characters may still be kept."""

    def __init__(self, chars: int) -> None:
        self._chars = chars

    def take(self, text: str) -> str:
        if len(text) > self._chars:
            text, self._chars = text[: self._chars] + _CUT, 0
        else:
            self._chars -= len(text)
        return text


def _message(message: Message, left: _Left) -> dict[str, Any]:
    parts = [_part(part, left) for part in message.parts]
    parts += [_call(call.id, call.name, left.take(call.arguments)) for call in message.tool_calls]
    made: dict[str, Any] = {"role": message.role, "parts": parts}
    if message.tool_call_id:
        made["tool_call_id"] = message.tool_call_id
    return made


def _part(part: ContentPart, left: _Left) -> dict[str, Any]:
    if part.WhichOneof("part") == "text":
        return {"type": "text", "content": left.take(part.text)}
    if part.WhichOneof("part") == "image":
        url = part.image.url
        return {"type": "image"} if url.startswith("data:") else {"type": "image", "url": left.take(url)}
    return {"type": "audio"}


def _call(id_: str, name: str, arguments: str) -> dict[str, Any]:
    return {"type": "tool_call", "id": id_, "name": name, "arguments": arguments}


def _answers(content: Captured) -> Iterator[dict[str, Any]]:
    calls: dict[int, list[str]] = {}
    for piece in content.calls:
        known = calls.setdefault(piece.index, ["", "", ""])
        known[0], known[1] = known[0] or piece.id, known[1] or piece.name
        known[2] += piece.arguments
    for index in sorted(content.texts or {0: []}):
        text = "".join(content.texts.get(index, ()))
        parts: list[dict[str, Any]] = [{"type": "text", "content": _Left(_THIRD).take(text)}] if text else []
        if not index:
            parts += [_call(*calls[number]) for number in sorted(calls)]
        yield {"role": "assistant", "parts": parts}


def _passage(number: int, passage: Passage, left: _Left) -> dict[str, Any]:
    return {
        "number": number,
        "collection": passage.collection,
        "document_id": passage.document_id,
        "chunk_id": passage.chunk_id,
        "title": left.take(passage.title),
        "text": left.take(passage.text),
        "score": passage.score,
        "start": passage.start,
        "end": passage.end,
        "page": passage.page,
    }


def _options(call: GenerateCall) -> dict[str, Any]:
    """What the request asked for beside its messages; what is not there was not given."""
    options = call.options
    given = {
        "operation": call.operation,
        "stream": call.stream,
        "sampling": MessageToDict(call.sampling, preserving_proto_field_name=True),
        "collections": options.collections,
        "guardrails": options.guardrails,
        "route": options.route,
        "cache": options.cache,
    }
    return {name: value for name, value in given.items() if value}
