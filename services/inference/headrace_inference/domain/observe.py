"""Metrics and the span of one request to an engine. What is done for each chunk is arithmetic only."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from headrace_inference.domain.deployments import Deployment
from headrace_inference.ports import Chunk, Generation, Usage
from headrace_kit.errors import HeadraceError
from headrace_kit.telemetry import genai

_OPERATION = {
    "generate": genai.OPERATION_CHAT,
    "embed": genai.OPERATION_EMBEDDINGS,
    "rerank": genai.OPERATION_RERANK,
    "classify": "classify",
}


class Observed:
    """Context manager around one request: opens its span at `started_engine`, and counts it at the end.

    Args:
        deployment: what serves it.
        task: `generate`, `embed`, `rerank` or `classify`.
        tracer: makes the span, where the trace is recorded.
    """

    __slots__ = (
        "_arrived", "_deployment", "_finish", "_first", "_meter", "_prompt", "_span", "_started", "_task",
        "_tokens", "_tracer", "usage",
    )  # fmt: skip

    def __init__(self, deployment: Deployment, task: str, tracer: Tracer) -> None:
        self._deployment = deployment
        self._meter = deployment.load
        self._task = task
        self._tracer = tracer
        self._arrived = time.monotonic()
        deployment.metrics.arrivals.inc()
        deployment.sleep.arrived()
        self._started = False
        self._first: float | None = None
        self._tokens = 0
        self._finish: list[str] = []
        self._span: Span | None = None
        self._prompt = Usage()
        self.usage: Usage | None = None

    def __enter__(self) -> Self:
        return self

    def started_engine(self, generation: Generation | None = None) -> None:
        """A slot is there: the engine is called now. Again, where its server was stopped at that moment."""
        if self._started:
            return
        self._started = True
        waited = time.monotonic() - self._arrived
        self._deployment.metrics.queue_seconds.observe(waited)
        parent = trace.get_current_span()
        # A trace that is not recorded is not recorded here either; one without a parent may be.
        if parent.is_recording() or not parent.get_span_context().is_valid:
            self._span = self._begin_span(waited, generation)

    def chunk(self, chunk: Chunk) -> None:
        """A chunk goes out."""
        now = time.monotonic()
        if self._first is None and (chunk.text or chunk.reasoning or chunk.tool_calls):
            self._first = now
            self._meter.first_token(now - self._arrived)
            self._deployment.metrics.first_token(now - self._arrived, self._span)
        if chunk.tokens:
            self._tokens += chunk.tokens
            self._meter.tokens(now, chunk.tokens)
        if chunk.prompt is not None:
            self._prompt = chunk.prompt
        if chunk.finish_reason:
            self._finish.append(chunk.finish_reason)
        if chunk.usage is not None:
            self.usage = chunk.usage

    def used(self, usage: Usage) -> None:
        """The tokens of a request that does not stream."""
        self.usage = usage

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        now = time.monotonic()
        metrics = self._deployment.metrics
        outcome = _outcome(error)
        metrics.ended(self._task, outcome, now - self._arrived)
        # A stream that was cut short is counted by what was sent.
        usage = self.usage or replace(self._prompt, output_tokens=self._tokens)
        if usage.input_tokens:
            metrics.input_tokens.inc(usage.input_tokens)
            metrics.cached_input_tokens.inc(usage.cached_input_tokens)
            self._meter.prompt(usage.input_tokens, usage.cached_input_tokens)
        if usage.output_tokens:
            metrics.output_tokens.inc(usage.output_tokens)
        if usage.draft_tokens:
            metrics.drafted.inc(usage.draft_tokens)
            metrics.accepted.inc(usage.accepted_draft_tokens)
        if self._first is not None and usage.output_tokens > 1:
            per_token = (now - self._first) / (usage.output_tokens - 1)
            metrics.output_token(per_token, self._span)
            self._meter.output_token(per_token)
        if self._span is not None:
            self._end_span(self._span, usage, outcome, error)

    def _begin_span(self, waited: float, generation: Generation | None) -> Span:
        operation = _OPERATION[self._task]
        attributes: dict[str, str | int | float | bool] = {
            genai.PROVIDER_NAME: getattr(self._deployment.config, "engine", ""),
            genai.REQUEST_MODEL: self._deployment.model,
            genai.DEPLOYMENT: self._deployment.name,
            "headrace.queue_ms": round(waited * 1000, 1),
        }
        if generation is not None:
            if not generation.messages:
                operation = genai.OPERATION_TEXT_COMPLETION
            sampling = generation.sampling
            attributes[genai.REQUEST_STREAM] = True
            for key, value in (
                (genai.REQUEST_TEMPERATURE, sampling.temperature),
                (genai.REQUEST_TOP_P, sampling.top_p),
                (genai.REQUEST_MAX_TOKENS, sampling.max_tokens),
                (genai.REQUEST_SEED, sampling.seed),
                ("headrace.adapter", generation.adapter or None),
                ("headrace.speculation.max_draft_tokens", generation.max_draft_tokens),
            ):
                if value is not None:
                    attributes[key] = value
        attributes[genai.OPERATION_NAME] = operation
        return self._tracer.start_span(
            f"{operation} {self._deployment.model}", kind=SpanKind.CLIENT, attributes=attributes
        )

    def _end_span(self, span: Span, usage: Usage, outcome: str, error: BaseException | None) -> None:
        if span.is_recording():
            span.set_attribute(genai.USAGE_INPUT_TOKENS, usage.input_tokens)
            span.set_attribute(genai.USAGE_CACHE_READ_INPUT_TOKENS, usage.cached_input_tokens)
            span.set_attribute(genai.USAGE_OUTPUT_TOKENS, usage.output_tokens)
            if usage.draft_tokens:
                steps = max(1, usage.output_tokens - usage.accepted_draft_tokens)
                span.set_attribute("headrace.speculation.draft_tokens", usage.draft_tokens)
                span.set_attribute("headrace.speculation.accepted_tokens", usage.accepted_draft_tokens)
                span.set_attribute(
                    "headrace.speculation.acceptance", round(usage.accepted_draft_tokens / usage.draft_tokens, 4)
                )
                span.set_attribute("headrace.speculation.tokens_per_step", round(usage.output_tokens / steps, 3))
            if self._first is not None:
                span.set_attribute(genai.RESPONSE_TIME_TO_FIRST_CHUNK, self._first - self._arrived)
            if self._finish:
                span.set_attribute(genai.RESPONSE_FINISH_REASONS, self._finish)
            if error is not None:
                span.set_attribute(genai.ERROR_TYPE, outcome)
                span.set_status(Status(StatusCode.ERROR))
        span.end()


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "ok"
    if isinstance(error, HeadraceError):
        return error.code
    if isinstance(error, GeneratorExit | asyncio.CancelledError):
        return "cancelled"
    return "internal_error"
