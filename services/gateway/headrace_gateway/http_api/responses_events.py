"""From the pipeline's answers to the events of OpenAI's responses.

Every event has a name, which is also its `type`, and a `sequence_number`, from 0. Items stay open until the answer
ends: a guardrail may hold the end of a text back until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from headrace_gateway.admission.limits import shut_down
from headrace_gateway.http_api.answers import typed
from headrace_gateway.http_api.responses_write import (
    ResponseObject,
    call_item,
    ending,
    logprob_objects,
    message_item,
    reasoning_item,
    text_part,
)
from headrace_gateway.pipeline import Answer
from headrace_protos.common.v1 import chat_pb2
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk

_encode = msgspec.json.Encoder().encode


class _Item:
    """An output item that grows."""

    def __init__(self, place: int, item_id: str) -> None:
        self.place, self.id = place, item_id
        self.pieces: list[str] = []
        self.logprobs: list[dict[str, Any]] = []
        self.call = chat_pb2.ToolCall()

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class ResponseEvents:
    """Writes one answer as events.

    Args:
        answer: the answer.
        shown: what its response shows of the request.
        ended: told how the answer ended, when all of it was written: None, or its error.
    """

    def __init__(self, answer: Answer, shown: ResponseObject, ended: Callable[[BaseException | None], None]) -> None:
        self._answer, self._shown, self._ended = answer, shown, ended
        self._sequence = 0
        self._items: list[_Item] = []
        self._reasoning: _Item | None = None
        self._message: _Item | None = None
        self._calls: dict[int, _Item] = {}
        self._delta = b""
        """The text event up to its number: most events are of this kind, so it is encoded once."""

    async def events(self) -> AsyncGenerator[bytes, None]:
        """All events, from `response.created` to `response.completed`, `.incomplete` or `.failed`, and nothing after.

        Raises nothing but cancellation.
        """
        begun = self._shown.begun()
        yield self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)
        last: GenerateChunk | None = None
        try:
            async with aclosing(self._answer.chunks()) as chunks:
                async for chunk in chunks:
                    last = chunk
                    if out := self._take(chunk):
                        yield out
        except (Exception, asyncio.CancelledError) as raised:
            error = shut_down(raised)
            if isinstance(error, asyncio.CancelledError):
                raise
            self._ended(error)
            failed = self._shown.failed(typed(error), self._output("incomplete"), self._answer.ctx.outcome)
            yield self._event("response.failed", response=failed)
            return
        assert last is not None
        out = self._close(last.finish_reason)
        response = self._shown.ended(
            last.finish_reason, self._output(ending(last.finish_reason)), last.usage, self._answer.ctx.outcome
        )
        self._ended(None)
        yield out + self._event(f"response.{response['status']}", response=response)

    def _take(self, chunk: GenerateChunk) -> bytes:
        out = b""
        if chunk.reasoning:
            out += self._reason(chunk.reasoning)
        if chunk.text or chunk.logprobs:
            out += self._say(chunk)
        for call in chunk.tool_calls:
            out += self._call(call)
        return out

    def _reason(self, delta: str) -> bytes:
        out = b""
        item = self._reasoning
        if item is None:
            item = self._reasoning = self._add(f"rs_{self._shown.request_id}")
            part = {"type": "reasoning_text", "text": ""}
            out = self._opened(item) + self._of(item, "response.content_part.added", content_index=0, part=part)
        item.pieces.append(delta)
        return out + self._of(item, "response.reasoning_text.delta", content_index=0, delta=delta)

    def _say(self, chunk: GenerateChunk) -> bytes:
        out = self._speak()
        item = self._message
        assert item is not None
        item.pieces.append(chunk.text)
        if chunk.logprobs:
            logprobs = logprob_objects(chunk)
            item.logprobs += logprobs
            return out + self._of(
                item, "response.output_text.delta", content_index=0, delta=chunk.text, logprobs=logprobs
            )
        number = b"%d" % self._next()
        return out + self._delta + number + b',"delta":' + _encode(chunk.text) + b"}\n\n"

    def _speak(self) -> bytes:
        """The events that begin the message, where it has not begun yet."""
        if self._message is not None:
            return b""
        item = self._message = self._add(f"msg_{self._shown.request_id}")
        name = "response.output_text.delta"
        head = {
            "type": name, "item_id": item.id, "output_index": item.place, "content_index": 0, "logprobs": [],
        }  # fmt: skip
        self._delta = f"event: {name}\ndata: ".encode() + _encode(head)[:-1] + b',"sequence_number":'
        return self._opened(item) + self._of(
            item, "response.content_part.added", content_index=0, part=text_part("", [])
        )

    def _call(self, piece: chat_pb2.ToolCall) -> bytes:
        item = self._calls.get(piece.index)
        out = b""
        if item is None:
            item = self._calls[piece.index] = self._add(f"fc_{self._shown.request_id}_{piece.index}")
            item.call.CopyFrom(piece)
            out = self._opened(item)
        else:
            item.call.id, item.call.name = item.call.id or piece.id, item.call.name or piece.name
        if piece.arguments:
            item.pieces.append(piece.arguments)
            out += self._of(item, "response.function_call_arguments.delta", delta=piece.arguments)
        return out

    def _close(self, finish_reason: str) -> bytes:
        """The events that end every item, in order."""
        status = ending(finish_reason)
        # An answer of nothing is an empty message, unless a policy took it.
        out = b"" if self._items or finish_reason == "content_filter" else self._speak()
        for item in self._items:
            text = item.text
            if item is self._reasoning:
                part = {"type": "reasoning_text", "text": text}
                out += self._of(item, "response.reasoning_text.done", content_index=0, text=text)
                out += self._of(item, "response.content_part.done", content_index=0, part=part)
            elif item is self._message:
                done = {"text": text, "logprobs": item.logprobs}
                out += self._of(item, "response.output_text.done", content_index=0, **done)
                part = text_part(text, item.logprobs)
                out += self._of(item, "response.content_part.done", content_index=0, part=part)
            else:
                name = "response.function_call_arguments.done"
                out += self._of(item, name, name=item.call.name, arguments=text)
            shown = self._show(item, status)
            out += self._event("response.output_item.done", output_index=item.place, item=shown)
        return out

    def _add(self, item_id: str) -> _Item:
        item = _Item(len(self._items), item_id)
        self._items.append(item)
        return item

    def _opened(self, item: _Item) -> bytes:
        shown = self._show(item, "in_progress")
        return self._event("response.output_item.added", output_index=item.place, item=shown)

    def _output(self, status: str) -> list[dict[str, Any]]:
        return [self._show(item, status) for item in self._items]

    def _show(self, item: _Item, status: str) -> dict[str, Any]:
        request_id = self._shown.request_id
        if item is self._reasoning:
            return reasoning_item(request_id, item.text, status)
        if item is self._message:
            text = None if status == "in_progress" else item.text
            return message_item(request_id, text, item.logprobs, status)
        return call_item(request_id, item.call, item.text, status)

    def _of(self, item: _Item, event: str, /, **more: Any) -> bytes:
        return self._event(event, item_id=item.id, output_index=item.place, **more)

    def _event(self, event: str, /, **fields: Any) -> bytes:
        body = _encode({"type": event, **fields, "sequence_number": self._next()})
        return f"event: {event}\ndata: ".encode() + body + b"\n\n"

    def _next(self) -> int:
        number = self._sequence
        self._sequence += 1
        return number


def failure_event(body: bytes) -> bytes:
    """The `error` event of a response that failed before its first item, from the body of its error response."""
    error = msgspec.json.decode(body)["error"]
    told = {
        "type": "error",
        "code": error["code"],
        "message": error["message"],
        "param": error["param"],
        "sequence_number": 0,
    }
    return b"event: error\ndata: " + _encode(told) + b"\n\n"
