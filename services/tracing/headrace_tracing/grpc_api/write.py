"""From what the domain knows to messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from headrace_protos.tracing.v1 import messages_pb2 as pb
from headrace_tracing.domain import story
from headrace_tracing.domain.content import CAPTURES, Content, Turn, cited
from headrace_tracing.domain.drift import Drift
from headrace_tracing.domain.drift_asked import DriftFound, date_of
from headrace_tracing.domain.measures import Difference, Measured, Session, Spread, rate
from headrace_tracing.domain.profiles import FEATURES
from headrace_tracing.domain.questions import Trace
from headrace_tracing.domain.spans import Feedback, Span, SpanEvent, Summary
from headrace_tracing.domain.summaries import cost_usd
from headrace_tracing.domain.tree import Place, places

_MOST_NS = 2**63 - 1
_MOST_NUMBER = 2**53
_MOST_COUNT = 2**31 - 1


def trace(found: Trace) -> pb.Trace:
    """One trace with everything."""
    summed, spans = found.summary, found.spans
    content = story.content(spans)
    return pb.Trace(
        trace_id=summed.trace_id,
        tenant=summed.tenant,
        start_time=timestamp(summed.start_ns),
        duration_ms=_ms(summed.start_ns, summed.end_ns),
        input_tokens=summed.usage.input_tokens,
        output_tokens=summed.usage.output_tokens,
        cost_usd=cost_usd(summed.usage.cost_nano_usd),
        status=summed.status,
        spans=[_span(one, at, summed.start_ns, found.capture) for one, at in zip(spans, places(spans), strict=True)],
        feedback=map(feedback, found.feedback),
        spans_left_out=found.left_out,
        summary=summary(summed),
        content=_content(content, found.capture) if content else pb.Content(capture=CAPTURES[0]),
        decisions=[_decision(decision, summed.start_ns) for decision in story.decisions(spans)],
        findings=[
            pb.Finding(
                direction=one.direction, check=one.check, kind=one.kind, action=one.action,
                count=min(one.count, _MOST_COUNT),
            )
            for one in story.findings(spans)
        ],
    )  # fmt: skip


def summary(found: Summary) -> pb.TraceSummary:
    """A trace without its spans."""
    facts, said = found.facts, found.said
    return pb.TraceSummary(
        trace_id=found.trace_id,
        tenant=found.tenant,
        name=found.name,
        model=facts.model,
        start_time=timestamp(found.start_ns),
        duration_ms=_ms(found.start_ns, found.end_ns),
        input_tokens=found.usage.input_tokens,
        output_tokens=found.usage.output_tokens,
        cost_usd=cost_usd(found.usage.cost_nano_usd),
        status=found.status,
        spans=found.spans,
        deployment=facts.deployment,
        arm=facts.arm,
        operation=facts.operation,
        provider=facts.provider,
        cache=facts.cache,
        error=found.error,
        session=found.session,
        user=facts.user,
        key_id=facts.key_id,
        config_hash=facts.config_hash,
        rollout=facts.rollout,
        ttft_ms=facts.ttft_us / 1000 if facts.ttft_us else None,
        tpot_ms=found.tpot_ms,
        stages=found.stages,
        attempts=found.attempts,
        findings=found.findings,
        collections=found.collections,
        feedback=said.mean,
        feedback_count=said.count,
        question=facts.question,
        capture=CAPTURES[found.capture],
        spans_thinned=found.thinned,
        saved=found.saved,
    )


def session(found: Session) -> pb.Session:
    """A conversation."""
    return pb.Session(
        session=found.session,
        tenant=found.tenant,
        start_time=timestamp(found.start_ns),
        end_time=timestamp(found.end_ns),
        traces=found.traces,
        errors=found.errors,
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        cost_usd=cost_usd(found.cost_nano_usd),
        feedback=found.feedback,
        question=found.question,
        user=found.user,
        models=found.models,
    )


def drift(found: DriftFound) -> pb.GetDriftResponse:
    """What drifted, and what did not."""
    made = pb.GetDriftResponse(
        drifts=map(_drift, found.found),
        tests=found.tests,
        to=date_of(found.now.last),
        reference_from=date_of(found.before.first),
        reference_to=date_of(found.before.last),
        more=found.more,
    )
    setattr(made, "from", date_of(found.now.first))
    return made


def _drift(one: Drift) -> pb.Drift:
    made = pb.Drift(
        tenant=one.tenant,
        model=one.model,
        collection=one.collection,
        feature=one.feature,
        drifted=one.drifted,
        psi=one.psi,
        test=one.test,
        p_value=one.p_value,
        q_value=one.q_value,
        count=one.count,
        reference_count=one.reference_count,
        days=[pb.DriftDay(day=date_of(day), count=count, psi=psi) for day, count, psi in one.days],
    )
    for name, count, before in one.bins:
        added = made.bins.add(name=name, count=count, reference_count=before)
        start, end = FEATURES[one.feature].bounds(name)
        if start is not None:
            setattr(added, "from", start)
        if end is not None:
            added.to = end
    return made


def row(found: Measured) -> pb.AggregateRow:
    """Sums of one group and time bucket."""
    return pb.AggregateRow(group=found.group, time=timestamp(found.time_ns), measures=measures(found))


def measures(found: Measured) -> pb.Measures:
    """Sums."""
    return pb.Measures(
        requests=found.requests,
        errors=found.errors,
        error_rate=rate(found.errors, found.requests),
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        cost_usd=cost_usd(found.cost_nano_usd),
        duration_ms=_percentiles(found.duration),
        ttft_ms=_percentiles(found.ttft),
        tpot_ms=_percentiles(found.tpot),
        cache_hit_rate=rate(found.cache_hits, found.cache_lookups),
        escalation_rate=rate(found.escalated, found.asked),
        flagged=found.flagged,
        feedback=found.feedback.mean,
        feedback_count=found.said,
        cache_hits=found.cache_hits,
        escalated=found.escalated,
    )


def difference(found: Difference) -> pb.Difference:
    """One measure of both sides."""
    return pb.Difference(measure=found.measure, a=found.a, b=found.b, change=found.change, p_value=found.p_value)


def feedback(found: Feedback) -> pb.Feedback:
    """What somebody said."""
    return pb.Feedback(
        id=found.id,
        span_id=found.span_id,
        score=found.score,
        label=found.label,
        comment=found.comment,
        created_at=timestamp(found.created_ns),
        correction=found.correction,
        source=found.source,
        user=found.user,
    )


def _percentiles(spread: Spread) -> pb.Percentiles:
    return pb.Percentiles(p50=spread.p50, p95=spread.p95, p99=spread.p99)


def _span(span: Span, place: Place, start_ns: int, capture: str) -> pb.Span:
    return pb.Span(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        service=span.service,
        name=span.name,
        kind=span.kind,
        start_time=timestamp(span.start_ns),
        duration_ms=_ms(span.start_ns, span.end_ns),
        status=span.status,
        status_message=span.status_message,
        attributes=_struct(span.attributes),
        events=map(_event, span.events),
        offset_ms=_ms(start_ns, span.start_ns),
        self_ms=place.self_ns / 1e6,
        depth=place.depth,
        content=_content(span.content, capture) if span.content else None,
        links=[pb.SpanLink(trace_id=trace_id, span_id=span_id) for trace_id, span_id in span.links],
    )


def _content(content: Content, capture: str) -> pb.Content:
    named = cited(content)
    return pb.Content(
        capture=capture,
        input=map(_turn, content.input),
        output=map(_turn, content.output),
        passages=[
            pb.Passage(
                number=_count(one.number), collection=one.collection, document_id=one.document_id,
                chunk_id=one.chunk_id, title=one.title, text=one.text, score=one.score, start=_count(one.start),
                end=_count(one.end), page=_count(one.page), cited=one.number in named,
                quotes=one.quotes,
            )
            for one in content.passages
        ],
        options_json=content.options,
    )  # fmt: skip


def _turn(turn: Turn) -> pb.Turn:
    return pb.Turn(role=turn.role, text=turn.text, more_json=turn.more)


def _decision(decision: story.Decision, start_ns: int) -> pb.Decision:
    return pb.Decision(
        span_id=decision.span_id,
        stage=decision.stage,
        attempt=decision.attempt,
        deployment=decision.deployment,
        verdict=decision.verdict,
        confidence=decision.confidence,
        signal=decision.signal,
        moment=decision.moment,
        reason=decision.reason,
        error=decision.error,
        offset_ms=_ms(start_ns, decision.start_ns),
        duration_ms=_ms(decision.start_ns, decision.end_ns),
        cost_usd=cost_usd(decision.usage.cost_nano_usd),
        input_tokens=decision.usage.input_tokens,
        output_tokens=decision.usage.output_tokens,
    )


def _event(event: SpanEvent) -> pb.SpanEvent:
    return pb.SpanEvent(name=event.name, time=timestamp(event.time_ns), attributes=_struct(event.attributes))


def _struct(attributes: Mapping[str, Any]) -> Struct:
    made = Struct()
    made.update({key: _plain(value) for key, value in attributes.items()})
    return made


def _plain(value: Any) -> Any:
    """The value for a Struct, whose numbers are doubles: a whole number that would lose digits becomes a string."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _MOST_NUMBER:
        return str(value)
    return value


def timestamp(at_ns: int) -> Timestamp:
    """Nanoseconds since 1970 as a message."""
    seconds, nanos = divmod(at_ns, 10**9)
    return Timestamp(seconds=seconds, nanos=nanos)


def ns(at: Timestamp) -> int:
    """A message as nanoseconds since 1970, within what a store holds."""
    return min(max(0, at.seconds * 10**9 + at.nanos), _MOST_NS)


def _ms(start_ns: int, end_ns: int) -> float:
    return (end_ns - start_ns) / 1e6


def _count(value: int) -> int:
    return value if 0 <= value <= _MOST_COUNT else 0
