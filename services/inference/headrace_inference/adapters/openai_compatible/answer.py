"""From a server's events to chunks, and whether the answer has ended as it should."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from headrace_inference.adapters.openai_compatible.errors import error_of, failure_of_event
from headrace_inference.adapters.openai_compatible.events import Call, Choice, Event, Events, Logprobs, UsageInfo
from headrace_inference.adapters.pending import Pending
from headrace_inference.adapters.stops import Stops
from headrace_inference.ports import Chunk, Generation, TokenLogprob, ToolCall, Usage
from headrace_kit.errors import Upstream

_FINISH = {
    "stop": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_BROKEN = ("abort", "error", "cancelled", "timeout")
_LOWEST = -9999.0
"""What servers write in place of minus infinity, which JSON does not have."""


class Answer:
    """The answer to one generation.

    Args:
        generation: what was asked.
        keeps_stops: the server's text goes on to the end of a stop string.

    Attributes:
        complete: the server said that nothing follows.
    """

    def __init__(self, generation: Generation, *, keeps_stops: bool) -> None:
        sampling = generation.sampling
        self.complete = False
        self._n = sampling.n
        self._stops = Stops(sampling.stop if keeps_stops else ())  # such a server gives one choice
        self._top = sampling.top_logprobs or 0
        self._format = str((sampling.response_format or {}).get("type", ""))
        self._pending = Pending(sampling.top_logprobs is not None)
        self._events = Events()
        self._counted: dict[int, int] = {}
        self._finished: set[int] = set()
        self._calls: dict[int, set[int]] = {}
        self._usage: Usage | None = None
        self._usages = 0
        self._begun = False

    def feed(self, data: bytes, now: float) -> None:
        """Bytes of the response; `now` is monotonic, in seconds.

        Raises:
            HeadraceError: the server reported an error, or what it sent cannot be read.
        """
        for event in self._events.feed(data):
            self._take(event, now)
        self.complete = self._events.done

    def wait_s(self, now: float) -> float | None:
        """Seconds until `take` has something that is due; None while there is nothing."""
        return self._pending.wait_s(now)

    def take(self) -> list[Chunk]:
        """What was said since the last call."""
        return self._pending.take()

    def end(self) -> list[Chunk]:
        """The last chunks.

        Raises:
            Upstream: the server ended its answer in the middle.
        """
        if self._usage is None or len(self._finished) < self._n:
            missing = "a finish reason" if len(self._finished) < self._n else "usage"
            raise Upstream(f"the engine's server ended its answer without {missing}", code="engine_failed")
        return self._pending.end(self._usage)

    def _take(self, event: Event, now: float) -> None:
        if (failure := failure_of_event(event)) is not None:
            error = error_of(failure, self._format)
            if self._begun and not isinstance(error, Upstream):
                raise Upstream("the engine's server failed in the middle of the answer", code="engine_failed")
            raise error
        if event.usage is not None and not event.choices:
            self._usage_alone(_usage(event.usage))
        for choice in event.choices or ():
            self._choice(choice, event.usage, now)

    def _usage_alone(self, usage: Usage) -> None:
        """Usage of all choices; llama.cpp's server sends one of these a choice, which share the prompt."""
        self._usages += 1
        if self._usages > 1 and self._usage is not None:
            usage = replace(usage, output_tokens=usage.output_tokens + self._usage.output_tokens)
        self._usage = usage

    def _choice(self, choice: Choice, usage: UsageInfo | None, now: float) -> None:
        index = choice.index
        if index in self._finished:
            raise Upstream("the engine's server went on after a finish reason", code="engine_failed")
        delta = choice.delta
        text = choice.text or (delta.content if delta else "") or ""
        reasoning = (delta.reasoning or delta.reasoning_content or "") if delta else ""
        tools = [self._call(index, call) for call in delta.tool_calls or ()] if delta else []
        logprobs = self._logprobs(choice.logprobs) if choice.logprobs else []
        tokens = self._tokens(index, usage, max(len(logprobs), int(bool(text or reasoning or tools))))
        finish = self._finish(index, choice.finish_reason) if choice.finish_reason else ""
        text = self._stops.feed(text) + (self._stops.rest() if finish else "")
        if not (text or reasoning or tools or logprobs or tokens or finish):
            return  # the role
        self._begun = True
        if usage is not None and finish and self._n == 1:
            # Some servers put usage on the last chunk only; one that sends it by itself overwrites this.
            self._usage = _usage(usage)
        self._pending.add(
            index,
            now,
            text=text,
            reasoning=reasoning,
            tools=tools,
            logprobs=logprobs,
            tokens=tokens,
            finish_reason=finish,
        )

    def _tokens(self, index: int, usage: UsageInfo | None, seen: int) -> int:
        """Tokens of this piece: exact where the server counts, else those that were seen."""
        before = self._counted.get(index, 0)
        if usage is None or usage.completion_tokens is None:
            self._counted[index] = before + seen
            return seen
        self._counted[index] = max(before, usage.completion_tokens)
        return max(0, usage.completion_tokens - before)

    def _finish(self, index: int, reason: str) -> str:
        if reason in _BROKEN:
            raise Upstream(f"the engine ended the answer itself: {reason}", code="engine_failed")
        self._finished.add(index)
        ours = _FINISH.get(reason, "stop")
        # Where a function was named, some servers call its end a plain stop.
        return "tool_calls" if ours == "stop" and index in self._calls else ours

    def _call(self, index: int, call: Call) -> ToolCall:
        function = call.function
        arguments = function.arguments if function else None
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(arguments).decode()
        number = call.index or 0
        known = self._calls.setdefault(index, set())
        first = number not in known
        known.add(number)
        # Some servers repeat id and name with every piece.
        return ToolCall(
            number,
            (call.id or "") if first else "",
            ((function.name if function else None) or "") if first else "",
            arguments or "",
        )

    def _logprobs(self, found: Logprobs) -> list[TokenLogprob]:
        if found.content is not None:
            return [
                TokenLogprob(
                    entry.token,
                    _value(entry.logprob),
                    self._best([(top.token, _value(top.logprob)) for top in entry.top_logprobs or ()]),
                )
                for entry in found.content
            ]
        tokens = found.tokens or []
        values = found.token_logprobs or [None] * len(tokens)
        tops = found.top_logprobs or [None] * len(tokens)
        return [
            TokenLogprob(
                token, _value(value), self._best([(other, _value(of_other)) for other, of_other in (top or {}).items()])
            )
            for token, value, top in zip(tokens, values, tops, strict=True)
        ]

    def _best(self, found: list[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
        """The best alternatives first. Servers put the token itself first, or one too many."""
        return tuple(sorted(found, key=lambda entry: -entry[1])[: self._top])


def _value(logprob: float | None) -> float:
    return _LOWEST if logprob is None else logprob


def _usage(usage: UsageInfo) -> Usage:
    details, output = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        input_tokens=usage.prompt_tokens or 0,
        cached_input_tokens=(details.cached_tokens if details else None) or 0,
        output_tokens=usage.completion_tokens or 0,
        reasoning_tokens=(output.reasoning_tokens if output else None) or usage.reasoning_tokens or 0,
    )
