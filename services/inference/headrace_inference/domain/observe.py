"""Metrics and the span of one request to an engine."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from headrace_inference.domain.deployments import Deployment
from headrace_inference.metrics import Metrics
from headrace_inference.ports import Chunk, Generation, Usage
from headrace_kit.errors import HeadraceError
from headrace_kit.telemetry import genai

_OPERATION = {
    "generate": genai.OPERATION_CHAT,
    "embed": genai.OPERATION_EMBEDDINGS,
    "rerank": genai.OPERATION_RERANK,
}


class Observed:
    """Context manager around one request: opens its span at `started_engine`, and counts it at the end.

    Args:
        deployment: what serves it.
        task: `generate`, `embed` or `rerank`.
    """

    def __init__(self, deployment: Deployment, task: str, tracer: Tracer, metrics: Metrics) -> None:
        self._deployment = deployment
        self._task = task
        self._tracer = tracer
        self._metrics = metrics
        self._arrived = time.monotonic()
        self._first: float | None = None
        self._tokens = 0
        self._usage: Usage | None = None
        self._finish: list[str] = []
        self._span: Span = trace.INVALID_SPAN

    def __enter__(self) -> Self:
        return self

    def started_engine(self, generation: Generation | None = None) -> None:
        """A slot is there: the engine is called now."""
        name = self._deployment.name
        waited = time.monotonic() - self._arrived
        self._metrics.queue_seconds.labels(name).observe(waited)
        self._count_in_work()
        operation = _OPERATION[self._task]
        attributes: dict[str, str | int | float | bool] = {
            genai.PROVIDER_NAME: self._deployment.config.engine,
            genai.REQUEST_MODEL: self._deployment.model,
            genai.DEPLOYMENT: name,
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
            ):
                if value is not None:
                    attributes[key] = value
        attributes[genai.OPERATION_NAME] = operation
        self._span = self._tracer.start_span(
            f"{operation} {self._deployment.model}", kind=SpanKind.CLIENT, attributes=attributes
        )

    def chunk(self, chunk: Chunk) -> None:
        """A chunk goes out."""
        now = time.monotonic()
        if self._first is None and (chunk.text or chunk.reasoning or chunk.tool_calls):
            self._first = now
            self._deployment.load.first_token(now - self._arrived)
            self._metrics.first_token_seconds.labels(self._deployment.name).observe(now - self._arrived)
        self._tokens += chunk.tokens
        self._deployment.load.tokens(now, chunk.tokens)
        if chunk.finish_reason:
            self._finish.append(chunk.finish_reason)
        if chunk.usage:
            self._usage = chunk.usage

    def used(self, usage: Usage) -> None:
        """The tokens of a request that does not stream."""
        self._usage = usage

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        now = time.monotonic()
        name = self._deployment.name
        outcome = _outcome(error)
        self._metrics.requests.labels(name, self._task, outcome).inc()
        self._metrics.seconds.labels(name, self._task).observe(now - self._arrived)
        self._count_in_work()
        # A stream that was cut short is counted by what was sent.
        usage = self._usage or Usage(output_tokens=self._tokens)
        for tokens, label in (
            (usage.input_tokens, "input"),
            (usage.cached_input_tokens, "cached_input"),
            (usage.output_tokens, "output"),
        ):
            self._metrics.tokens.labels(name, label).inc(tokens)
        self._metrics.draft_tokens.labels(name, "proposed").inc(usage.draft_tokens)
        self._metrics.draft_tokens.labels(name, "accepted").inc(usage.accepted_draft_tokens)
        if self._first is not None and usage.output_tokens > 1:
            per_token = (now - self._first) / (usage.output_tokens - 1)
            self._metrics.output_token_seconds.labels(name).observe(per_token)
        self._end_span(usage, outcome, error)

    def _count_in_work(self) -> None:
        admission = self._deployment.admission
        self._metrics.running.labels(self._deployment.name).set(admission.running)
        self._metrics.waiting.labels(self._deployment.name).set(admission.waiting)

    def _end_span(self, usage: Usage, outcome: str, error: BaseException | None) -> None:
        span = self._span
        if not span.is_recording():
            span.end()
            return
        span.set_attribute(genai.USAGE_INPUT_TOKENS, usage.input_tokens)
        span.set_attribute(genai.USAGE_CACHE_READ_INPUT_TOKENS, usage.cached_input_tokens)
        span.set_attribute(genai.USAGE_OUTPUT_TOKENS, usage.output_tokens)
        if usage.draft_tokens:
            span.set_attribute("headrace.speculation.draft_tokens", usage.draft_tokens)
            span.set_attribute("headrace.speculation.accepted_tokens", usage.accepted_draft_tokens)
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
