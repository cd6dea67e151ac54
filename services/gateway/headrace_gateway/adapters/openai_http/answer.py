"""From what an endpoint sends to chunks, and whether the answer has ended as it should."""

from __future__ import annotations

import msgspec

from headrace_gateway.adapters.openai_http.errors import error_of_object
from headrace_gateway.adapters.openai_http.shapes import (
    UNREADABLE,
    Call,
    Choice,
    Completion,
    Delta,
    Logprobs,
    UsageInfo,
    completion,
)
from headrace_kit.confidence import margin_and_entropy
from headrace_kit.errors import Upstream
from headrace_protos.common.v1.chat_pb2 import TokenLogprob, ToolCall, TopLogprob, Usage
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk, GenerateRequest, TokenStats

MAX_EVENT_BYTES = 4 << 20
_CHARS_PER_TOKEN = 4
_LOWEST = -9999.0
"""What servers write in place of minus infinity, which JSON does not have."""

_FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_BROKEN = ("abort", "error", "cancelled", "timeout")


class Answer:
    """The answer to one request.

    Args:
        request: what was asked.

    Attributes:
        complete: the endpoint said that nothing follows.
    """

    def __init__(self, request: GenerateRequest) -> None:
        sampling = request.sampling
        self._request = request
        self.complete = False
        self._n = sampling.n or 1
        self._top = sampling.top_logprobs if sampling.HasField("top_logprobs") else -1
        self._want_stats, self._stats_top = request.want_stats, request.stats_top
        self._rest = b""
        self._usage: UsageInfo | None = None
        self._chars = self._tokens = 0
        self._finished: dict[int, str] = {}
        self._calls: dict[int, set[int]] = {}
        self._begun = False

    def feed(self, data: bytes) -> list[GenerateChunk]:
        """Chunks of the events that `data` completes; texts that came together are one.

        Raises:
            HeadraceError: the endpoint reported an error, or what it sent is no stream of chunks.
        """
        if self._rest:
            data = self._rest + data
        lines = data.split(b"\n")
        self._rest = lines.pop()
        chunks: list[GenerateChunk] = []
        for line in lines:
            # comments, `event:` and `id:` lines, and the empty line after each event say nothing here
            if not line.startswith(b"data:"):
                continue
            payload = line[5:].strip()
            if payload == b"[DONE]":
                self.complete = True
                break
            self._take(payload, chunks)
        if len(self._rest) > MAX_EVENT_BYTES:
            raise _failed("sent an event that has no end")
        return chunks

    def end(self) -> list[GenerateChunk]:
        """The last chunks of a stream: finish reasons, and usage on the very last.

        Raises:
            Upstream: the endpoint ended its answer in the middle.
        """
        if len(self._finished) < self._n:
            raise _failed("ended its answer without a finish reason")
        chunks = [GenerateChunk(index=index, finish_reason=reason) for index, reason in sorted(self._finished.items())]
        self._put_usage(chunks[-1].usage)
        return chunks

    def whole(self, body: bytes) -> list[GenerateChunk]:
        """The chunks, one a choice, of an answer that is not streamed. Raises as `feed` and `end`."""
        answer = _decoded(body)
        if answer.error is not None:
            raise error_of_object(answer.error)
        self._usage = answer.usage
        chunks: list[GenerateChunk] = []
        for choice in answer.choices or ():
            if (chunk := self._chunk(choice, choice.message)) is None:
                chunk = GenerateChunk(index=choice.index)
            chunk.finish_reason = self._finished.get(choice.index, "")
            chunks.append(chunk)
        if len(self._finished) < self._n or len(chunks) != self._n:
            raise _failed("ended its answer without a finish reason")
        self._put_usage(chunks[-1].usage)
        return chunks

    def _take(self, payload: bytes, chunks: list[GenerateChunk]) -> None:
        try:
            event = completion.decode(payload)
        except UNREADABLE as error:
            raise _unreadable() from error
        if event.error is not None:
            if self._begun:
                raise _failed("failed in the middle of its answer")
            raise error_of_object(event.error)
        if event.usage is not None:
            self._usage = event.usage
        for choice in event.choices or ():
            chunk = self._chunk(choice, choice.delta)
            if chunk is None:
                continue
            self._begun = True
            last = chunks[-1] if chunks else None
            if last is not None and last.index == chunk.index and _plain(last) and _plain(chunk):
                last.text += chunk.text
            else:
                chunks.append(chunk)

    def _chunk(self, choice: Choice, said: Delta | None) -> GenerateChunk | None:
        """A choice's piece; None where it says nothing, as the first does that has the role."""
        index = choice.index
        if index in self._finished or not 0 <= index < self._n:
            raise _failed("sent a choice that it should not")
        text, reasoning, tools = choice.text or "", "", None
        if said is not None:
            text = said.content or said.refusal or text
            reasoning = said.reasoning or said.reasoning_content or ""
            tools = said.tool_calls
        self._chars += len(text) + len(reasoning)
        chunk = GenerateChunk(index=index, text=text) if index else GenerateChunk(text=text)
        if reasoning:
            chunk.reasoning = reasoning
        if tools:
            chunk.tool_calls.extend([self._call(index, number, call) for number, call in enumerate(tools)])
        if choice.logprobs is not None and (self._top >= 0 or self._want_stats):
            self._logprobs(choice.logprobs, chunk)
        if choice.finish_reason:
            self._finish(index, choice.finish_reason)
        return chunk if text or reasoning or tools or choice.logprobs else None

    def _finish(self, index: int, reason: str) -> None:
        if reason in _BROKEN:
            raise _failed("ended the answer itself")
        ours = _FINISH.get(reason, "stop")
        # Where a function was named, some servers call its end a plain stop.
        self._finished[index] = "tool_calls" if ours == "stop" and index in self._calls else ours

    def _call(self, choice: int, position: int, call: Call) -> ToolCall:
        function = call.function
        arguments = function.arguments if function else None
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(arguments).decode()
        number = position if call.index is None else call.index
        if not 0 <= number < 1024:
            raise _failed("sent a tool call that it should not")
        known = self._calls.setdefault(choice, set())
        first = number not in known
        known.add(number)
        self._chars += len(arguments or "")
        # Some servers repeat id and name with every piece.
        return ToolCall(
            index=number,
            id=(call.id or "") if first else "",
            name=((function.name if function else None) or "") if first else "",
            arguments=arguments or "",
        )

    def _logprobs(self, found: Logprobs, chunk: GenerateChunk) -> None:
        entries: list[tuple[str, float, list[tuple[str, float]]]]
        if found.content is not None:
            entries = [
                (
                    entry.token,
                    _value(entry.logprob),
                    [(top.token, _value(top.logprob)) for top in entry.top_logprobs or ()],
                )
                for entry in found.content
            ]
        else:
            tokens = found.tokens or []
            values = found.token_logprobs or [None] * len(tokens)
            tops = found.top_logprobs or [None] * len(tokens)
            if not len(tokens) == len(values) == len(tops):
                raise _failed("sent log probabilities that do not fit their tokens")
            entries = [
                (token, _value(value), [(other, _value(its)) for other, its in (top or {}).items()])
                for token, value, top in zip(tokens, values, tops, strict=True)
            ]
        if not entries:
            return
        self._tokens += len(entries)
        logprobs = [logprob for _, logprob, _ in entries]
        chunk.stats.CopyFrom(TokenStats(tokens=len(entries), sum_logprob=sum(logprobs), min_logprob=min(logprobs)))
        if self._stats_top:
            for ranks in (margin_and_entropy(value for _, value in others) for _, _, others in entries):
                if ranks is not None:
                    chunk.stats.ranked += 1
                    chunk.stats.sum_margin += ranks[0]
                    chunk.stats.sum_entropy += ranks[1]
        if self._top >= 0:
            for token, logprob, others in entries:
                # The best first. Servers put the token itself first, or one too many.
                best = sorted(others, key=lambda other: -other[1])[: self._top]
                chunk.logprobs.append(
                    TokenLogprob(
                        token=token, logprob=logprob, top=[TopLogprob(token=name, logprob=its) for name, its in best]
                    )
                )

    def _put_usage(self, usage: Usage) -> None:
        """The endpoint's count; where it gave none, what was sent and seen."""
        usage.SetInParent()
        found = self._usage
        if found is None or found.completion_tokens is None:
            usage.input_tokens = -(-_chars_of(self._request) // _CHARS_PER_TOKEN)
            usage.output_tokens = self._tokens or -(-self._chars // _CHARS_PER_TOKEN)
            return
        usage.input_tokens = max(0, found.prompt_tokens or 0)
        usage.output_tokens = max(0, found.completion_tokens)
        if found.prompt_tokens_details is not None and found.prompt_tokens_details.cached_tokens:
            usage.cached_input_tokens = min(usage.input_tokens, max(0, found.prompt_tokens_details.cached_tokens))
        if found.completion_tokens_details is not None and found.completion_tokens_details.reasoning_tokens:
            usage.reasoning_tokens = max(0, found.completion_tokens_details.reasoning_tokens)


def _chars_of(request: GenerateRequest) -> int:
    said = sum(len(part.text) for message in request.messages for part in message.parts)
    return len(request.prompt) + said + sum(len(tool.parameters_json) for tool in request.sampling.tools)


def _plain(chunk: GenerateChunk) -> bool:
    """Whether it is a text and nothing else."""
    return bool(chunk.text) and not (chunk.reasoning or chunk.tool_calls or chunk.logprobs or chunk.HasField("stats"))


def _decoded(payload: bytes) -> Completion:
    try:
        return completion.decode(payload)
    except UNREADABLE as error:
        raise _unreadable() from error


def _unreadable() -> Upstream:
    return _failed("sent something that is not an answer")


def _value(logprob: float | None) -> float:
    return _LOWEST if logprob is None else logprob


def _failed(what: str) -> Upstream:
    return Upstream(f"the model's endpoint {what}", code="engine_failed")
