"""What a request said and was answered, from the gateway's record of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict

from headrace_kit.telemetry.requests import Said
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message, Sampling, ToolCall
from headrace_protos.retrieval.v1.messages_pb2 import Passage
from headrace_tracing.domain.content import Content, PassageSeen, Turn, plain_json
from headrace_tracing.domain.messages import turns_of

_ASSISTANT = "assistant"


def content_of(said: Said) -> Content:
    """The content. Raises google.protobuf's DecodeError."""
    return Content(
        input=_turns(said.messages, said.prompt),
        output=turns_of(list(_answers(said)), _ASSISTANT) if said.texts or said.calls else (),
        passages=tuple(
            _passage(number, Passage.FromString(raw), said.quotes.get(number, ()))
            for number, raw in enumerate(said.passages, 1)
        ),
        options=plain_json(_options(said)),
    )


def as_sent(said: Said) -> tuple[Turn, ...]:
    """What came in before guardrails changed it; empty where they did not. Raises google.protobuf's DecodeError."""
    return _turns(said.sent, said.sent_prompt)


def _turns(messages: Sequence[bytes], prompt: str) -> tuple[Turn, ...]:
    if prompt:
        return turns_of([{"role": "user", "parts": [_text(prompt)]}], "user")
    return turns_of([_message(Message.FromString(raw)) for raw in messages], "user")


def _message(message: Message) -> dict[str, Any]:
    parts = [_part(part) for part in message.parts]
    parts += [_call(call.id, call.name, call.arguments) for call in message.tool_calls]
    return {"role": message.role, "parts": parts}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "content": text}


def _part(part: ContentPart) -> dict[str, Any]:
    match part.WhichOneof("part"):
        case "text":
            return _text(part.text)
        case "image" if part.image.url.startswith("data:"):
            return {"type": "image"}
        case "image":
            return {"type": "image", "url": part.image.url}
        case _:
            return {"type": "audio"}


def _call(id_: str, name: str, arguments: str) -> dict[str, Any]:
    return {"type": "tool_call", "id": id_, "name": name, "arguments": arguments}


def _answers(said: Said) -> Iterator[dict[str, Any]]:
    """A message a choice; calls of tools are put together from their pieces, and belong to the first."""
    calls: dict[int, list[str]] = {}
    for piece in map(ToolCall.FromString, said.calls):
        known = calls.setdefault(piece.index, ["", "", ""])
        known[0], known[1] = known[0] or piece.id, known[1] or piece.name
        known[2] += piece.arguments
    for index in sorted(said.texts or {0: ""}):
        text = said.texts.get(index, "")
        parts = [_text(text)] if text else []
        if not index:
            parts += [_call(*calls[number]) for number in sorted(calls)]
        yield {"role": _ASSISTANT, "parts": parts}


def _passage(number: int, passage: Passage, quotes: Sequence[str]) -> PassageSeen:
    return PassageSeen(
        number=number,
        collection=passage.collection,
        document_id=passage.document_id,
        chunk_id=passage.chunk_id,
        title=passage.title,
        text=passage.text,
        score=passage.score if math.isfinite(passage.score) else None,
        start=passage.start,
        end=passage.end,
        page=passage.page,
        quotes=tuple(quotes),
    )


def _options(said: Said) -> dict[str, Any]:
    """What the request asked for beside its messages; what is not there was not given."""
    given = {
        "operation": said.operation,
        "stream": said.stream,
        "sampling": MessageToDict(Sampling.FromString(said.sampling), preserving_proto_field_name=True),
        "collections": said.collections,
        "guardrails": said.guardrails,
        "route": said.route,
        "cache": said.cache,
    }
    return {name: value for name, value in given.items() if value}
