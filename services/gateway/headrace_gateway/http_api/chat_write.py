"""From the pipeline's answers to OpenAI's objects: whole, and in server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from headrace_gateway.admission.limits import shut_down
from headrace_gateway.calls import CHAT
from headrace_gateway.http_api.answers import error_body
from headrace_gateway.pipeline import Answer
from headrace_protos.common.v1 import chat_pb2
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk

_encode = msgspec.json.Encoder().encode
DONE = b"data: [DONE]\n\n"


def usage_object(usage: chat_pb2.Usage) -> dict[str, Any]:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "accepted_prediction_tokens": usage.accepted_draft_tokens,
            "rejected_prediction_tokens": max(0, usage.draft_tokens - usage.accepted_draft_tokens),
        },
    }


async def whole_answer(answer: Answer, echo: str = "") -> dict[str, Any]:
    """`chat.completion` or `text_completion`, when all of it is there. Raises what the answer ends with.

    `echo` is put in front of a completion's text.
    """
    choices, usage = await answer.whole()
    chat = answer.call.operation == CHAT
    return {
        "id": _id(answer),
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": answer.call.model,
        "choices": [_chat_choice(choice) if chat else _text_choice(choice, echo) for choice in choices],
        "usage": usage_object(usage),
        "headrace": answer.ctx.outcome,
    }


def _id(answer: Answer) -> str:
    return ("chatcmpl-" if answer.call.operation == CHAT else "cmpl-") + answer.ctx.request_id


def _chat_choice(chunk: GenerateChunk) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": chunk.text or None, "refusal": None}
    if chunk.reasoning:
        message["reasoning"] = chunk.reasoning
    if chunk.tool_calls:
        message["tool_calls"] = [_tool_call(call) for call in chunk.tool_calls]
    elif not chunk.text:
        message["content"] = ""
    return {
        "index": chunk.index,
        "message": message,
        "logprobs": _logprobs(chunk),
        "finish_reason": chunk.finish_reason,
    }


def _text_choice(chunk: GenerateChunk, echo: str) -> dict[str, Any]:
    return {
        "index": chunk.index,
        "text": echo + chunk.text,
        "logprobs": _text_logprobs(chunk, 0),
        "finish_reason": chunk.finish_reason,
    }


def _tool_call(call: chat_pb2.ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _tool_delta(call: chat_pb2.ToolCall) -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": call.arguments}
    delta: dict[str, Any] = {"index": call.index, "function": function}
    if call.id:
        delta["id"], delta["type"] = call.id, "function"
    if call.name:
        function["name"] = call.name
    return delta


def _logprobs(chunk: GenerateChunk) -> dict[str, Any] | None:
    if not chunk.logprobs:
        return None
    content = [
        {
            "token": entry.token,
            "logprob": entry.logprob,
            "bytes": list(entry.token.encode()),
            "top_logprobs": [
                {"token": top.token, "logprob": top.logprob, "bytes": list(top.token.encode())} for top in entry.top
            ],
        }
        for entry in chunk.logprobs
    ]
    return {"content": content, "refusal": None}


def _text_logprobs(chunk: GenerateChunk, offset: int) -> dict[str, Any] | None:
    """The shape of completions: lists side by side. Offsets count characters from the answer's beginning."""
    if not chunk.logprobs:
        return None
    offsets = []
    for entry in chunk.logprobs:
        offsets.append(offset)
        offset += len(entry.token)
    return {
        "tokens": [entry.token for entry in chunk.logprobs],
        "token_logprobs": [entry.logprob for entry in chunk.logprobs],
        "top_logprobs": [{top.token: top.logprob for top in entry.top} for entry in chunk.logprobs],
        "text_offset": offsets,
    }


class EventWriter:
    """Writes one answer as events; what is the same in all of them is encoded once.

    Args:
        answer: the answer.
        include_usage: send OpenAI's usage chunk before the end.
        ended: told how the answer ended, when all of it was written: None, or its error.
        echo: put in front of a completion's text.
    """

    def __init__(
        self, answer: Answer, include_usage: bool, ended: Callable[[BaseException | None], None], echo: str = ""
    ) -> None:
        self._answer = answer
        self._ended = ended
        self._echo = echo
        self._offsets: dict[int, int] = {}
        self._chat = answer.call.operation == CHAT
        head = {
            "id": _id(answer),
            "object": "chat.completion.chunk" if self._chat else "text_completion",
            "created": int(time.time()),
            "model": answer.call.model,
        }
        self._head = b"data: " + _encode(head)[:-1]
        self._usage = b',"usage":null' if include_usage else b""
        self._include_usage = include_usage
        # Most chunks are nothing but text: of those only the text is encoded, between these.
        self._openings: dict[int, bytes] = {}
        self._closing = (b"}" if self._chat else b"") + _OPEN_END + b"]" + self._usage + b"}\n\n"

    async def events(self) -> AsyncGenerator[bytes, None]:
        """All events up to `[DONE]`. An answer that fails ends with an event that holds the error, and nothing after.

        Raises nothing but cancellation.
        """
        try:
            async with aclosing(self._answer.chunks()) as chunks:
                async for chunk in chunks:
                    yield self._chunk(chunk)
        except (Exception, asyncio.CancelledError) as raised:
            error = shut_down(raised)
            if isinstance(error, asyncio.CancelledError):
                raise
            self._ended(error)
            yield b"data: " + error_body(error) + b"\n\n"
            return
        self._ended(None)
        yield DONE

    def _chunk(self, chunk: GenerateChunk) -> bytes:
        index, text, out = chunk.index, chunk.text, b""
        opening = self._openings.get(index)
        if opening is None:
            opening, out = self._begin(index)
        if chunk.logprobs or (self._chat and (chunk.tool_calls or chunk.reasoning)):
            out += self._event(_encode(self._rich(chunk) if self._chat else self._quoted(chunk)))
        elif text:
            out += opening + _encode(text) + self._closing
        if chunk.finish_reason:
            out += self._finish(chunk, b"%d" % index)
        return out

    def _begin(self, index: int) -> tuple[bytes, bytes]:
        """What goes before each text of a choice, and what goes out before all of it."""
        choice = b'{"index":%d' % index
        field = b',"delta":{"content":' if self._chat else b',"text":'
        opening = self._openings[index] = self._head + b',"choices":[' + choice + field
        if self._chat:
            return opening, self._event(choice + b',"delta":{"role":"assistant","content":""}' + _OPEN_END)
        return opening, opening + _encode(self._echo) + self._closing if self._echo else b""

    def _quoted(self, chunk: GenerateChunk) -> dict[str, Any]:
        offset = self._offsets.get(chunk.index, 0)
        self._offsets[chunk.index] = offset + sum(len(entry.token) for entry in chunk.logprobs)
        return {
            "index": chunk.index,
            "text": chunk.text,
            "logprobs": _text_logprobs(chunk, offset),
            "finish_reason": None,
        }

    def _rich(self, chunk: GenerateChunk) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        if chunk.text:
            delta["content"] = chunk.text
        if chunk.reasoning:
            delta["reasoning"] = chunk.reasoning
        if chunk.tool_calls:
            delta["tool_calls"] = [_tool_delta(call) for call in chunk.tool_calls]
        return {"index": chunk.index, "delta": delta, "logprobs": _logprobs(chunk), "finish_reason": None}

    def _finish(self, chunk: GenerateChunk, index: bytes) -> bytes:
        body = b'"delta":{}' if self._chat else b'"text":""'
        reason = _encode(chunk.finish_reason)
        choice = b'{"index":' + index + b"," + body + b',"logprobs":null,"finish_reason":' + reason + b"}"
        if not chunk.HasField("usage"):
            return self._event(choice)
        headrace = b',"headrace":' + _encode(self._answer.ctx.outcome)
        out = self._event(choice, headrace)
        if self._include_usage:
            usage = _encode(usage_object(chunk.usage))
            out += self._head + b',"choices":[],"usage":' + usage + b"}\n\n"
        return out

    def _event(self, choice: bytes, extra: bytes = b"") -> bytes:
        return self._head + b',"choices":[' + choice + b"]" + self._usage + extra + b"}\n\n"


_OPEN_END = b',"logprobs":null,"finish_reason":null}'
