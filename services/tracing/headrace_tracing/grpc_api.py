"""TracingService over gRPC: decode, ask, encode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.tracing.v1 import messages_pb2, service_pb2_grpc
from headrace_tracing.domain.questions import FeedbackGiven, ListQuestion, Questions, Trace
from headrace_tracing.domain.spans import Feedback, Span, SpanEvent, Summary
from headrace_tracing.domain.summaries import cost_usd

FULL_NAME = "headrace.tracing.v1.TracingService"
CALLERS = frozenset({"gateway"})
_MOST_NS = 2**63 - 1
_MOST_NUMBER = 2**53


class TracingServicer(service_pb2_grpc.TracingServiceServicer):
    """See the proto for what each method promises."""

    def __init__(self, rpc_runtime: RpcRuntime, questions: Questions) -> None:
        self.rpc_runtime = rpc_runtime
        self._questions = questions

    @rpc(callers=CALLERS)
    async def GetTrace(self, request: messages_pb2.GetTraceRequest, call: Call) -> messages_pb2.Trace:
        """One trace with its spans."""
        return _trace(await self._questions.trace(request.trace_id, call.caller))

    @rpc(callers=CALLERS)
    async def ListTraces(self, request: messages_pb2.ListTracesRequest, call: Call) -> messages_pb2.ListTracesResponse:
        """A page of traces."""
        question = ListQuestion(
            limit=request.limit,
            from_ns=_ns(getattr(request, "from")) if request.HasField("from") else None,
            to_ns=_ns(request.to) if request.HasField("to") else None,
            model=request.model,
            status=request.status,
            page_token=request.page_token,
        )
        page, token = await self._questions.traces(question, call.caller)
        return messages_pb2.ListTracesResponse(traces=[_summary(summary) for summary in page], next_page_token=token)

    @rpc(callers=CALLERS)
    async def AddFeedback(self, request: messages_pb2.AddFeedbackRequest, call: Call) -> messages_pb2.Feedback:
        """Feedback tied to a trace."""
        given = FeedbackGiven(
            trace_id=request.trace_id,
            span_id=request.span_id,
            score=request.score if request.HasField("score") else None,
            label=request.label,
            comment=request.comment,
        )
        return _feedback(await self._questions.add_feedback(given, call.caller))


def _trace(trace: Trace) -> messages_pb2.Trace:
    summary = trace.summary
    return messages_pb2.Trace(
        trace_id=summary.trace_id,
        tenant=summary.tenant,
        start_time=_timestamp(summary.start_ns),
        duration_ms=_ms(summary.start_ns, summary.end_ns),
        input_tokens=summary.usage.input_tokens,
        output_tokens=summary.usage.output_tokens,
        cost_usd=cost_usd(summary.usage.cost_nano_usd),
        status=summary.status,
        spans=[_span(span) for span in trace.spans],
        feedback=[_feedback(entry) for entry in trace.feedback],
        spans_left_out=trace.left_out,
    )


def _summary(summary: Summary) -> messages_pb2.TraceSummary:
    return messages_pb2.TraceSummary(
        trace_id=summary.trace_id,
        tenant=summary.tenant,
        name=summary.name,
        model=summary.model,
        start_time=_timestamp(summary.start_ns),
        duration_ms=_ms(summary.start_ns, summary.end_ns),
        input_tokens=summary.usage.input_tokens,
        output_tokens=summary.usage.output_tokens,
        cost_usd=cost_usd(summary.usage.cost_nano_usd),
        status=summary.status,
        spans=summary.spans,
    )


def _span(span: Span) -> messages_pb2.Span:
    return messages_pb2.Span(
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        service=span.service,
        name=span.name,
        kind=span.kind,
        start_time=_timestamp(span.start_ns),
        duration_ms=_ms(span.start_ns, span.end_ns),
        status=span.status,
        status_message=span.status_message,
        attributes=_struct(span.attributes),
        events=[_event(event) for event in span.events],
    )


def _event(event: SpanEvent) -> messages_pb2.SpanEvent:
    return messages_pb2.SpanEvent(name=event.name, time=_timestamp(event.time_ns), attributes=_struct(event.attributes))


def _feedback(feedback: Feedback) -> messages_pb2.Feedback:
    return messages_pb2.Feedback(
        id=feedback.id,
        span_id=feedback.span_id,
        score=feedback.score,
        label=feedback.label,
        comment=feedback.comment,
        created_at=_timestamp(feedback.created_ns),
    )


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


def _timestamp(ns: int) -> Timestamp:
    seconds, nanos = divmod(ns, 10**9)
    return Timestamp(seconds=seconds, nanos=nanos)


def _ns(timestamp: Timestamp) -> int:
    return min(max(0, timestamp.seconds * 10**9 + timestamp.nanos), _MOST_NS)


def _ms(start_ns: int, end_ns: int) -> float:
    return (end_ns - start_ns) / 1e6
