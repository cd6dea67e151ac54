"""One try on one deployment: its event in the ledger, its span, its tokens and its price."""

from __future__ import annotations

import asyncio
from typing import Any

from headrace_gateway.admission.limits import shut_down
from headrace_gateway.budgets.period import DAY_NS
from headrace_gateway.cascade.review import Review
from headrace_gateway.cascade.signals import Confidence
from headrace_gateway.context import RequestContext, error_code
from headrace_gateway.ledger.about import event_about, stamp
from headrace_gateway.observing.metrics import Metrics, ModelCall
from headrace_gateway.observing.records import operation_of
from headrace_gateway.outcome import StageOutcome, TokenCount, usd
from headrace_gateway.ports import Envelope, Journal, attempt_name, envelope
from headrace_gateway.routing.eligible import permitted
from headrace_gateway.routing.plan import Target
from headrace_kit.errors import Forbidden
from headrace_kit.telemetry import genai
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.common.v1.event_pb2 import RequestEvent
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk

OVERHEAD = ("rejected", "judged", "lost", "helped")
"""Verdicts of attempts that are paid for, but whose answer is not given."""

_CHARS_PER_TOKEN = 4
_CLOCKS_S = 0.05


class Attempt:
    """Opened before the engine starts, closed when it has ended in whatever way. Close it exactly once.

    Args:
        ctx: the request.
        target: the deployment.
        stage: cascade stage, from 0.
        number: try within the stage, from 0.
        reserved: most output tokens that it may use.
        why: reason for which this deployment was chosen.
        review: the cascade's verdict, read when the attempt ends; None: whatever comes is given.
        reason: why the attempt is made at all: empty for the first of a stage, else `retry`, `fallback`, `hedge` or
            `continuation`.
        continued: tokens of the answer that other attempts made before; it goes on behind them.
    """

    def __init__(
        self,
        ctx: RequestContext,
        target: Target,
        stage: int,
        number: int,
        reserved: int = 0,
        why: str = "",
        review: Review | None = None,
        reason: str = "",
        continued: int = 0,
    ) -> None:
        self.ctx, self.target, self.why, self._review = ctx, target, why, review
        self.reason, self.continued = reason, continued
        self._stage, self._number, self._reserved = stage, number, reserved
        self._hop = ctx.begin(f"{ctx.operation} {target.name}")
        self._started_us = ctx.elapsed_us()
        self._first_us = 0
        self._ended_us = 0
        self._prompt_tokens = 0
        self._usage: Usage | None = None
        self._opened: RequestEvent | None = None
        self._prompt = Usage()
        self._chars = 0
        self.pieces = 0
        self._tokens = 0
        self.confidence = Confidence()
        self.finish_reason = ""
        self.verdict = ""
        self.signal = self.moment = ""
        self.signal_value: float | None = None
        self.error: BaseException | None = None
        self.bound = 0
        """The most that it may cost, as its request holds it, in nano-dollars."""

    @property
    def envelope(self) -> Envelope:
        """What travels with the call to the engine."""
        return envelope(self.ctx, self._hop, attempt_name(self.ctx.request_id, self._stage, self._number))

    @property
    def first_token_s(self) -> float | None:
        """Seconds from its start to its first token; None where none came."""
        return (self._first_us - self._started_us) / 1e6 if self._first_us else None

    @property
    def elapsed_s(self) -> float:
        """Seconds since its start, or that it took."""
        return ((self._ended_us or self.ctx.elapsed_us()) - self._started_us) / 1e6

    @property
    def expired(self) -> bool:
        """Whether it was cut off at the request's deadline."""
        # A transport that watches the deadline itself cancels at it, by its own clock.
        cut_off = isinstance(self.error, asyncio.CancelledError | GeneratorExit)
        return cut_off and not self.ctx.stopped and self.ctx.expired(_CLOCKS_S)

    async def open(self, journal: Journal) -> None:
        """Write the opened event; returns when it is on disk.

        Raises:
            Forbidden: the request may not be sent to this deployment. Whoever chose it should have known.
        """
        if not permitted(self.ctx, self.target):
            raise Forbidden(f"this request may not be sent to the deployment {self.target.name!r}")
        self._opened = self._event(RequestEvent.KIND_OPENED)
        await journal.opened(self._opened)

    def saw(self, chunk: GenerateChunk) -> None:
        """Count a chunk that came from the engine."""
        if not self._first_us:
            self._first_us = self.ctx.elapsed_us()
        self.pieces += 1
        self._chars += len(chunk.text) + len(chunk.reasoning)
        if chunk.HasField("stats"):
            self.confidence.add(chunk)
        if chunk.HasField("prompt"):
            self._prompt = chunk.prompt
        if chunk.HasField("usage"):
            self._usage = chunk.usage
        if chunk.finish_reason:
            self.finish_reason = chunk.finish_reason

    def used(self, usage: Usage) -> None:
        """Take the usage of a call that does not stream."""
        self._usage = usage

    def end(self, error: BaseException | None = None, *, lost: bool = False) -> None:
        """It ends now, with `error` or well; `close` may come later. What a cascade stopped, as it was not good enough,
        has not failed, nor has one that was `lost` to another whose first token came sooner.
        """
        review = self._review
        if lost:
            self.verdict, error = "lost", None
        elif review is None or review.judges or review.helps:
            answered = "accepted" if review is None else "judged" if review.judges else "helped"
            self.verdict = answered if error is None and (self.finish_reason or review is not None) else ""
        else:
            cut_off = isinstance(error, asyncio.CancelledError | GeneratorExit)
            if cut_off and review.accepted is False:
                error = None
            if error is None or review.accepted:
                self.verdict = "accepted" if review.accepted else "rejected"
            self.signal, self.signal_value, self.moment = review.signal, review.value, review.moment
        self.error = error
        self._ended_us = self.ctx.elapsed_us()
        if self.ctx.sampled:
            self._hop.ended_ns = self.ctx.wall_ns()

    @property
    def usage(self) -> Usage:
        """The engine's count; where it could not give one, what was seen of the answer."""
        if self._usage is not None:
            return self._usage
        if not self._first_us:
            return Usage(input_tokens=self._prompt_tokens)
        seen = self.confidence.tokens or -(-self._chars // _CHARS_PER_TOKEN)
        return Usage(
            input_tokens=self._prompt.input_tokens or self._prompt_tokens,
            cached_input_tokens=self._prompt.cached_input_tokens,
            output_tokens=seen,
        )

    def close(self, journal: Journal, metrics: Metrics, prompt_tokens: int = 0) -> None:
        """Write the closed event, and tell the outcome, the trace and the metrics.

        Args:
            journal: the event log.
            metrics: counts.
            prompt_tokens: of the same prompt as another engine counted it, for one that had no time to tell.
        """
        self._prompt_tokens = prompt_tokens
        ctx, usage = self.ctx, self.usage
        cost = self.target.price.cost_nano_usd(
            usage.input_tokens, usage.cached_input_tokens, usage.output_tokens, usage.cache_write_input_tokens
        )
        code = self._code()
        ctx.cost_nano_usd += cost
        if ctx.purse is not None:
            ctx.purse.paid(self.bound, cost, usage.input_tokens + usage.output_tokens)
        if self.verdict not in OVERHEAD:
            ctx.usage = _joined(usage, self.continued) if self.continued else usage
        event = self._closed()
        event.usage.CopyFrom(usage)
        event.cost_nano_usd = cost
        event.finish_reason = "" if code else self.finish_reason
        event.error_code = code
        cascades = ctx.plan is not None and ctx.plan.cascades
        event.verdict = self.verdict if cascades or self.verdict in ("lost", "helped") else ""
        if self.signal_value is not None:
            event.confidence = self.signal_value
        event.first_token_us = self._first_us
        event.ended_us = self._ended_us or ctx.elapsed_us()
        if ctx.outcome.guardrails:
            event.guard_findings.extend([found.label for found in ctx.outcome.guardrails])
        journal.closed(event)
        metrics.attempt(
            ctx.plan.name if ctx.plan else "",
            self.target.name,
            code or (self.verdict if self.verdict in OVERHEAD else "ok"),
            usage.input_tokens,
            usage.output_tokens,
        )
        metrics.called(
            ModelCall(
                operation_of(ctx),
                self.target.engine,
                self.target.name,
                code,
                (event.ended_us - self._started_us) / 1e6,
                usage.input_tokens,
                usage.output_tokens,
                (ctx.trace_id, self._hop.span_id) if ctx.sampled else None,
            )
        )
        ctx.outcome.stages.append(
            StageOutcome(
                deployment=self.target.name,
                verdict="failed" if code else self.verdict or "accepted",
                usage=TokenCount(usage.input_tokens, usage.output_tokens),
                cost_usd=usd(cost),
                duration_ms=round((event.ended_us - self._started_us) / 1000, 3),
                signal=self.signal or None,
                moment=self.moment or None,
                confidence=self.signal_value,
                error=code or None,
                chosen_by=None if self.why == "only" else self.why or None,
                reason=self.reason or None,
            )
        )
        if self.moment and ctx.plan is not None:
            metrics.verdict(ctx.plan.name, self._stage, self.moment, self.verdict)
        if ctx.sampled:
            self._end_hop(usage, cost, code)

    def _code(self) -> str:
        if self.error is None:
            return ""
        if isinstance(self.error, GeneratorExit) and self.ctx.stopped:
            self.finish_reason = self.ctx.stopped
            return ""
        if self.expired:
            return "deadline_exceeded"
        return error_code(shut_down(self.error))

    def _end_hop(self, usage: Usage, cost: int, code: str) -> None:
        attributes: dict[str, Any] = {
            genai.DEPLOYMENT: self.target.name,
            genai.PROVIDER_NAME: self.target.engine,
            genai.STAGE: self._stage,
            genai.ATTEMPT: self._number,
            genai.USAGE_INPUT_TOKENS: usage.input_tokens,
            genai.USAGE_OUTPUT_TOKENS: usage.output_tokens,
            genai.COST_NANO_USD: cost,
            genai.BILLED: True,
        }
        self._hop.attributes = attributes
        if self.why:
            attributes[genai.CHOSEN_BY] = self.why
        if usage.cached_input_tokens:
            attributes[genai.USAGE_CACHE_READ_INPUT_TOKENS] = usage.cached_input_tokens
        if usage.cache_write_input_tokens:
            attributes[genai.USAGE_CACHE_CREATION_INPUT_TOKENS] = usage.cache_write_input_tokens
        if self._first_us:
            attributes[genai.RESPONSE_TIME_TO_FIRST_CHUNK] = (self._first_us - self._started_us) / 1e6
        if self.finish_reason:
            attributes[genai.RESPONSE_FINISH_REASONS] = (self.finish_reason,)
        if self.reason:
            attributes[genai.REASON] = self.reason
        if self.verdict in ("lost", "helped") or (
            self.verdict and self.ctx.plan is not None and self.ctx.plan.cascades
        ):
            attributes[genai.VERDICT] = self.verdict
        if self.moment:
            attributes[genai.SIGNAL], attributes[genai.MOMENT] = self.signal, self.moment
        if self.signal_value is not None:
            attributes[genai.CONFIDENCE] = self.signal_value
        self._hop.error = code
        self._hop.ended_ns = self._hop.ended_ns or self.ctx.wall_ns()

    def _closed(self) -> RequestEvent:
        """The opened event becomes the closed one: all that it says still holds."""
        if self._opened is None:
            return self._event(RequestEvent.KIND_CLOSED)
        event = RequestEvent()
        event.CopyFrom(self._opened)
        event.kind = RequestEvent.KIND_CLOSED
        event.cache = self.ctx.outcome.cache
        stamp(event, self.ctx.wall_ns())
        return event

    def _event(self, kind: RequestEvent.Kind) -> RequestEvent:
        ctx = self.ctx
        event = event_about(ctx, kind, self.target.name, ctx.wall_ns())
        event.stage, event.attempt, event.started_us = self._stage, self._number, self._started_us
        event.reserved_output_tokens = self._reserved
        event.price_version = self.target.price.version or ""
        event.budget_day = ctx.started_ns // DAY_NS
        event.reason, event.continued_tokens = self.reason, self.continued
        return event


def _joined(usage: Usage, continued: int) -> Usage:
    """The usage of an answer that other attempts began: what they made is output, not a part of the prompt."""
    whole = Usage()
    whole.CopyFrom(usage)
    whole.input_tokens = max(0, usage.input_tokens - continued)
    whole.cached_input_tokens = min(usage.cached_input_tokens, whole.input_tokens)
    whole.output_tokens += continued
    return whole
