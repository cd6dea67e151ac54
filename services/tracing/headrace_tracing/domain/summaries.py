"""From spans to the summaries that traces are listed by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from headrace_tracing.domain.spans import Span, Summary


def summarise(spans: Iterable[Span]) -> list[Summary]:
    """One summary per trace and tenant, in that order. Give each span once: sums add up."""
    made: dict[tuple[str, str], Summary] = {}
    for span in spans:
        key = (span.trace_id, span.tenant)
        alone = Summary(
            span.trace_id,
            span.tenant,
            span.name,
            "error" if span.status == "error" else "ok",
            span.start_ns,
            span.end_ns,
            1,
            span.usage,
            span.model,
            span.start_ns if span.model else None,
        )
        made[key] = merge(made[key], alone) if key in made else alone
    return [made[key] for key in sorted(made)]


def merge(one: Summary, other: Summary) -> Summary:
    """Both together. The result is named after `one`'s trace and tenant."""
    first = other if other.start_ns < one.start_ns else one
    named = other if _model_at(other) < _model_at(one) else one
    return replace(
        one,
        name=first.name,
        status=first.status,
        start_ns=first.start_ns,
        end_ns=max(one.end_ns, other.end_ns),
        spans=one.spans + other.spans,
        usage=one.usage + other.usage,
        model=named.model,
        model_at_ns=named.model_at_ns,
    )


def _model_at(summary: Summary) -> float:
    return float("inf") if summary.model_at_ns is None else summary.model_at_ns


def cost_usd(nano_usd: int) -> str:
    """Nano-USD as decimal dollars without needless zeros, for example `0.0000125`."""
    dollars, rest = divmod(nano_usd, 10**9)
    return f"{dollars}.{rest:09d}".rstrip("0").rstrip(".")
