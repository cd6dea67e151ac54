"""Rows of PostgreSQL to what the domain knows, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace_tracing.adapters.codec import of_body, of_content
from headrace_tracing.domain.features import Features
from headrace_tracing.domain.measures import Measured, Session, Spread
from headrace_tracing.domain.spans import KINDS, STATUSES, Facts, Feedback, Said, Span, Summary, Usage

SPAN = "trace_id, span_id, day, start_ns, end_ns, kind, status, parent_span_id, tenant, service, name, body"
SPAN_TYPES = ("bytea", "bytea", "int4", "int8", "int8", "int2", "int2", "bytea", "text", "text", "text", "bytea")

SUMMED = (
    "trace_id", "tenant", "name", "status", "start_ns", "end_ns", "spans", "input_tokens", "output_tokens",
    "cost_nano_usd", "reported_input_tokens", "reported_output_tokens", "reported_nano_usd", "attempts", "model",
    "model_at_ns", "deployment", "arm", "operation", "provider", "cache", "key_id", "config_hash", "rollout",
    "user_digest", "question", "ttft_us", "error", "session", "stages", "findings", "collections", "services",
    "capture", "failed", "unsure", "input_chars", "language", "topic", "refused", "groundedness", "retrieval_score",
)  # fmt: skip
SUMMED_TYPES = (
    "bytea", "text", "text", "smallint", "bigint", "bigint", "integer", "bigint", "bigint", "bigint", "bigint",
    "bigint", "bigint", "integer", "text", "bigint", "text", "text", "text", "text", "text", "text", "text", "text",
    "text", "text", "integer", "text", "text", "integer", "text", "text", "text", "smallint", "integer",
    "integer", "integer", "text", "smallint", "smallint", "double precision", "double precision",
)  # fmt: skip
"""Types of `SUMMED`; lists travel as JSON text."""

SUMMARY = ", ".join((*SUMMED, "score_sum", "scores", "said", "labels", "octet_length(thinned) / 8 AS thinned", "saved"))
FEEDBACK = "id, trace_id, tenant, span_id, score, label, comment, created_ns, key_id, user_name, correction, source"


def summed(summary: Summary) -> tuple[Any, ...]:
    """The values of `SUMMED`, lists as they are."""
    facts = summary.facts
    watched = facts.watched
    return (
        bytes.fromhex(summary.trace_id), summary.tenant, summary.name, STATUSES.index(summary.status),
        summary.start_ns, summary.end_ns, summary.spans, summary.billed.input_tokens, summary.billed.output_tokens,
        summary.billed.cost_nano_usd, summary.reported.input_tokens, summary.reported.output_tokens,
        summary.reported.cost_nano_usd, summary.attempts, facts.model, summary.model_at_ns, facts.deployment,
        facts.arm, facts.operation, facts.provider, facts.cache, facts.key_id, facts.config_hash, facts.rollout,
        facts.user, facts.question, facts.ttft_us, summary.error, summary.session, summary.stages,
        summary.findings, summary.collections, summary.services, summary.capture,
        summary.failed, summary.unsure, watched.input_chars, watched.language, watched.topic, watched.refused,
        watched.groundedness, watched.retrieval_score,
    )  # fmt: skip


def summary_of(row: Sequence[Any]) -> Summary:
    """From the columns `SUMMARY`."""
    (
        trace_id, tenant, name, status, start_ns, end_ns, spans, tokens_in, tokens_out, cost, other_in, other_out,
        other_cost, attempts, model, model_at_ns, deployment, arm, operation, provider, cache, key_id, config_hash,
        rollout, user, question, ttft_us, error, session, stages, findings, collections, services, capture,
        failed, unsure, input_chars, language, topic, refused, groundedness, retrieval_score,
        score_sum, scores, said, labels, thinned, saved,
    ) = row  # fmt: skip
    return Summary(
        trace_id=trace_id.hex(),
        tenant=tenant,
        name=name,
        status=STATUSES[status],
        start_ns=start_ns,
        end_ns=end_ns,
        spans=spans,
        billed=Usage(tokens_in, tokens_out, cost),
        reported=Usage(other_in, other_out, other_cost),
        attempts=attempts,
        facts=Facts(
            model,
            deployment,
            arm,
            operation,
            provider,
            cache,
            key_id,
            config_hash,
            rollout,
            user,
            question,
            ttft_us,
            Features(input_chars, language, topic, refused, groundedness, retrieval_score),
        ),
        model_at_ns=model_at_ns,
        error=error,
        session=session,
        stages=stages,
        findings=tuple(findings),
        collections=tuple(collections),
        services=tuple(services),
        capture=capture,
        said=Said(score_sum, scores, said, tuple(labels)),
        failed=failed,
        unsure=unsure,
        thinned=thinned,
        saved=saved,
    )


def span_of(row: Sequence[Any]) -> Span:
    """From the columns `SPAN`, the content and the sealed content."""
    trace_id, span_id, _, start_ns, end_ns, kind, status, parent, tenant, service, name, body, content, sealed = row
    attributes, events, links, message = of_body(body)
    return Span(
        trace_id=trace_id.hex(),
        span_id=span_id.hex(),
        parent_span_id=parent.hex(),
        tenant=tenant,
        service=service,
        name=name,
        kind=KINDS[kind],
        start_ns=start_ns,
        end_ns=end_ns,
        status=STATUSES[status],
        status_message=message,
        attributes=attributes,
        events=events,
        links=links,
        content=of_content(content) if content else None,
        sealed=sealed or b"",
    )


def feedback_of(row: Sequence[Any]) -> Feedback:
    """From the columns `FEEDBACK`."""
    id_, trace, tenant, span, score, label, comment, created_ns, key_id, user, correction, source = row
    return Feedback(
        str(id_), trace.hex(), tenant, span.hex(), score, label, comment, created_ns, key_id, user, correction, source
    )


def session_of(row: Sequence[Any]) -> Session:
    """From the columns that `analysis` selects for sessions."""
    (
        session, tenant, start_ns, end_ns, last_start_ns, traces, errors, tokens_in, tokens_out, cost, feedback,
        question, user, models,
    ) = row  # fmt: skip
    named = tuple(sorted(model for model in models if model))
    return Session(
        session, tenant, start_ns, end_ns, last_start_ns, traces, errors, tokens_in, tokens_out, cost, feedback,
        question or "", user or "", named,
    )  # fmt: skip


def measured_of(row: Sequence[Any], group_by: Sequence[str]) -> Measured:
    """From the columns that `analysis` selects for sums."""
    dimensions, rest = row[: len(group_by)], list(row[len(group_by) :])
    group = dict(zip(group_by, map(str, dimensions), strict=True))
    sums = {name: int(value or 0) for name, value in zip(_SUMS, rest[: len(_SUMS)], strict=True)}
    spreads = [_spread(rest[at : at + 4]) for at in range(len(_SUMS), len(rest), 4)]
    duration, ttft, tpot, cost, tokens, feedback = spreads
    return Measured(
        group=group, **sums, duration=duration, ttft=ttft, tpot=tpot, cost=cost, tokens=tokens, feedback=feedback
    )


_SUMS = (
    "time_ns", "requests", "errors", "input_tokens", "output_tokens", "cost_nano_usd", "cache_hits", "cache_lookups",
    "escalated", "asked", "flagged", "said",
)  # fmt: skip


def _spread(columns: Sequence[Any]) -> Spread:
    percentiles, count, mean, variance = columns
    p50, p95, p99 = percentiles or (None, None, None)
    return Spread(p50, p95, p99, count, _number(mean), _number(variance))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
