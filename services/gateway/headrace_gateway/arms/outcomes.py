"""How a request went for its caller, told once at its end: what the arms of a rollout are judged by."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import re2

from headrace_gateway.arms import canary, guardrails
from headrace_gateway.cascade.schema import conforms, is_object
from headrace_gateway.context import RequestContext
from headrace_gateway.ledger.about import event_about
from headrace_gateway.ports import Journal
from headrace_gateway.routing.traits import script_of
from headrace_protos.common.v1.chat_pb2 import Message, ResponseFormat
from headrace_protos.common.v1.event_pb2 import RequestEvent
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk

TIMEOUTS = frozenset({"deadline_exceeded", "engine_timeout", "engine_stalled"})
_LIMITS = frozenset({"rate_limit_exceeded", "budget_exceeded", "budget_reserved"})
"""Codes of the caller's own limits; a full engine may have the first one too."""

GROUNDEDNESS = "groundedness"
"""Score of live answers, and of both answers of a shadow: how far the passages support them."""

_RANGES = ((256, "<=256"), (1024, "<=1k"), (4096, "<=4k"), (16_384, "<=16k"))
_BYTES_PER_TOKEN = 4
_MOST_CHARS = 1_000_000
"""Of a longer answer the form is not looked at."""


@dataclass(slots=True)
class Answered:
    """The answer as its caller gets it, by choice, while it goes by.

    Attributes:
        asked: the form that was asked for.
        script: writing system of the request's last words; empty where that is not known.
        prompt_tokens: about how long the request is.
    """

    asked: ResponseFormat
    script: str
    prompt_tokens: int
    texts: dict[int, list[str]] = field(default_factory=dict)
    arguments: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    finish_reason: str = ""
    chars: int = 0

    def saw(self, chunk: GenerateChunk) -> None:
        """A piece goes out."""
        if chunk.text and self.chars <= _MOST_CHARS:
            self.chars += len(chunk.text)
            self.texts.setdefault(chunk.index, []).append(chunk.text)
        for call in chunk.tool_calls:
            self.arguments.setdefault((chunk.index, call.index), []).append(call.arguments)
        if chunk.finish_reason:
            self.finish_reason = chunk.finish_reason
            self.texts.setdefault(chunk.index, [])

    def text(self) -> str:
        """The first choice's text."""
        return "".join(self.texts.get(0, ()))

    def fault(self) -> str:
        """What is wrong with a whole answer: `blocked`, `empty`, `invalid`, or nothing."""
        if self.finish_reason == "content_filter":
            return "blocked"
        if not self.arguments and not any(text.strip() for texts in self.texts.values() for text in texts):
            return "empty"
        if self.chars > _MOST_CHARS:
            return ""
        for parts in self.arguments.values():
            if not _is_json("".join(parts) or "{}"):
                return "invalid"
        called = {choice for choice, _ in self.arguments}
        for choice, texts in self.texts.items():
            if choice not in called and not _in_form("".join(texts), self.asked):
                return "invalid"
        return ""


def answered(messages: list[Message], prompt: str, asked: ResponseFormat) -> Answered:
    """Begin to look at the answer to a request."""
    words = prompt
    size = len(prompt)
    for message in messages:
        text = "".join([part.text for part in message.parts])
        size += len(text)
        if message.role == "user" and text:
            words = text
    return Answered(asked, script_of(words), -(-size // _BYTES_PER_TOKEN))


class Finishing:
    """Writes the finished event of every request that was on an arm, then passes it on.

    Args:
        journal: the event log.
        count: hears of each by model, arm and failure.
        begin: hears of each that may have a copy to run.
        record: who else hears of requests that left.
    """

    def __init__(
        self,
        journal: Journal,
        count: Callable[[str, str, str], None],
        begin: Callable[[RequestContext], None],
        record: Callable[[RequestContext, int, str], None],
    ) -> None:
        self._journal, self._count, self._begin, self._record = journal, count, begin, record

    def record(self, ctx: RequestContext, status: int, error: str) -> None:
        """A request has left with an HTTP status and a code of the error table, or none."""
        if ctx.outcome.stages or error not in _LIMITS:
            if ctx.canary is not None:
                self._tell(of_release(ctx, status, error), canary.TARGET)
            if ctx.trial is not None and ctx.trial.counts:
                self._tell(of_guardrails(ctx, status, error), guardrails.TARGET)
            if ctx.rollout_id:
                event = finished(ctx, status, error)
                self._tell(event, event.model)
                if ctx.copy is not None:
                    self._begin(ctx)
        self._record(ctx, status, error)

    def _tell(self, event: RequestEvent, target: str) -> None:
        self._journal.closed(event)
        self._count(target, event.arm, event.failure)


def finished(ctx: RequestContext, status: int, error: str) -> RequestEvent:
    """The finished event of a request on an arm."""
    seen = ctx.answered
    event = event_about(ctx, RequestEvent.KIND_FINISHED, ctx.outcome.deployment, ctx.wall_ns())
    event.usage.CopyFrom(ctx.usage)
    event.cost_nano_usd = ctx.cost_nano_usd
    event.finish_reason = seen.finish_reason if seen and not error else ""
    event.error_code = error
    event.first_token_us, event.ended_us = ctx.first_token_us, ctx.elapsed_us()
    event.failure = _failure(ctx, status, error)
    event.segment["tenant"] = ctx.identity.tenant
    event.streamed, event.weight = ctx.stream, ctx.arm_weight
    if (grounded := groundedness(ctx)) is not None and not error:
        event.scores[GROUNDEDNESS] = grounded
    if seen is not None:
        event.segment["prompt"] = _range(ctx.usage.input_tokens or seen.prompt_tokens)
        if seen.script:
            event.segment["script"] = seen.script
    return event


def groundedness(ctx: RequestContext) -> float | None:
    """How far an answer is supported by its passages, 0 to 1; None where none stood in its prompt."""
    return ctx.outcome.grounding.score if ctx.outcome.grounding else None


def of_release(ctx: RequestContext, status: int, error: str) -> RequestEvent:
    """The finished event of a request on a release of the gateway; one of its own beside that of a model's rollout."""
    assert ctx.canary is not None
    event = finished(ctx, status, error)
    event.rollout_id, event.arm, event.weight = ctx.canary.rollout_id, ctx.canary.arm, ctx.canary.weight
    event.unit = ctx.canary.unit(ctx.span_id)
    return event


def of_guardrails(ctx: RequestContext, status: int, error: str) -> RequestEvent:
    """The finished event of a request whose texts a release of guardrails judged, or was to judge; one of its own too.

    A release that gave no verdict has failed, also where the other one stood in for it, or the policy went on without.
    """
    assert ctx.trial is not None
    event, trial = finished(ctx, status, error), ctx.trial
    event.rollout_id, event.arm, event.weight, event.unit = trial.rollout_id, trial.arm, trial.weight, trial.unit
    event.failure = trial.failure or event.failure
    return event


def _failure(ctx: RequestContext, status: int, error: str) -> str:
    if error == "client_closed_request":
        return "" if ctx.first_token_us else "left"
    if error in TIMEOUTS:
        return "timeout"
    if error == "content_filter":
        return "blocked"
    if error:
        return "refused" if 400 <= status < 429 else "error"
    return ctx.answered.fault() if ctx.answered is not None else ""


def _range(tokens: int) -> str:
    return next((name for most, name in _RANGES if tokens <= most), ">16k")


def _in_form(text: str, asked: ResponseFormat) -> bool:
    if asked.type == "json_schema":
        return conforms(text, asked.schema_json)
    if asked.type == "json_object":
        return is_object(text)
    if asked.type == "regex":
        try:
            return re2.fullmatch(asked.regex, text) is not None
        except re2.error:
            return True  # whoever serves it had to refuse it
    return True


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
