"""TracingService over gRPC: decode, ask, encode."""

from __future__ import annotations

from typing import Any

from headrace_kit.errors import BadInput, Forbidden
from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.tracing.v1 import messages_pb2, service_pb2_grpc
from headrace_tracing.domain.drift_asked import DriftAsked, DriftQuestions
from headrace_tracing.domain.filters import TraceFilter
from headrace_tracing.domain.questions import FeedbackGiven, Page, Questions, Sums
from headrace_tracing.domain.summaries import nano_usd
from headrace_tracing.grpc_api import write
from headrace_tracing.grpc_api.write import ns
from headrace_tracing.otlp_api.intake import Form, Intake

FULL_NAME = "headrace.tracing.v1.TracingService"
CALLERS = frozenset({"gateway"})
_MOST_MS = 1e12
_TEXTS = (
    "tenant", "model", "deployment", "arm", "status", "operation", "cache", "session", "user", "collection",
    "config_hash", "error", "rollout", "key_id", "provider", "service", "label", "guard_finding", "text",
)  # fmt: skip


class TracingServicer(service_pb2_grpc.TracingServiceServicer):
    """See the proto for what each method promises."""

    def __init__(self, rpc_runtime: RpcRuntime, questions: Questions, intake: Intake, drift: DriftQuestions) -> None:
        self.rpc_runtime = rpc_runtime
        self._intake = intake
        self._questions = questions
        self._drift = drift

    @rpc(callers=CALLERS)
    async def GetTrace(self, request: messages_pb2.GetTraceRequest, call: Call) -> messages_pb2.Trace:
        """One trace with its spans."""
        return write.trace(await self._questions.trace(request.trace_id, call.caller, full=request.full))

    @rpc(callers=CALLERS)
    async def ListTraces(self, request: messages_pb2.ListTracesRequest, call: Call) -> messages_pb2.ListTracesResponse:
        """A page of traces."""
        wanted, page = filter_of(request.filter), Page(request.limit, request.page_token)
        found, token = await self._questions.traces(wanted, page, call.caller)
        return messages_pb2.ListTracesResponse(traces=map(write.summary, found), next_page_token=token)

    @rpc(callers=CALLERS)
    async def ListSessions(
        self, request: messages_pb2.ListSessionsRequest, call: Call
    ) -> messages_pb2.ListSessionsResponse:
        """A page of sessions."""
        wanted, page = filter_of(request.filter), Page(request.limit, request.page_token)
        found, token = await self._questions.sessions(wanted, page, call.caller)
        return messages_pb2.ListSessionsResponse(sessions=map(write.session, found), next_page_token=token)

    @rpc(callers=CALLERS)
    async def Aggregate(self, request: messages_pb2.AggregateRequest, call: Call) -> messages_pb2.AggregateResponse:
        """Sums."""
        sums = Sums(tuple(request.group_by), request.bucket_s, request.limit)
        rows, counted, more = await self._questions.aggregate(filter_of(request.filter), sums, call.caller)
        made = messages_pb2.AggregateResponse(rows=map(write.row, rows), more=more)
        getattr(made, "from").CopyFrom(write.timestamp(counted.from_ns or 0))
        made.to.CopyFrom(write.timestamp(counted.to_ns or 0))
        return made

    @rpc(callers=CALLERS)
    async def Compare(self, request: messages_pb2.CompareRequest, call: Call) -> messages_pb2.CompareResponse:
        """Two sets of traces side by side."""
        sides = []
        for side in (request.a, request.b):
            both = messages_pb2.TraceFilter()
            both.CopyFrom(request.filter)
            both.MergeFrom(side)
            sides.append(filter_of(both))
        a, b, found = await self._questions.compare(sides[0], sides[1], call.caller)
        return messages_pb2.CompareResponse(
            a=write.measures(a), b=write.measures(b), differences=map(write.difference, found)
        )

    @rpc(callers=CALLERS)
    async def ExportSpans(
        self, request: messages_pb2.ExportSpansRequest, call: Call
    ) -> messages_pb2.ExportSpansResponse:
        """Spans of an application, by its key."""
        if not call.caller.tenant:
            raise Forbidden("spans belong to a tenant: send them with a tenant's key")
        form = Form(request.content_type, request.content_encoding)
        taken = await self._intake.take(request.body, form, call.caller.tenant)
        if not taken.rejected:
            return messages_pb2.ExportSpansResponse()
        return messages_pb2.ExportSpansResponse(rejected=taken.rejected.total(), message=taken.why)

    @rpc(callers=CALLERS)
    async def EraseTraces(
        self, request: messages_pb2.EraseTracesRequest, call: Call
    ) -> messages_pb2.EraseTracesResponse:
        """Traces of a tenant or a person, deleted."""
        traces, said = await self._questions.erase(request.tenant, request.user, call.caller)
        return messages_pb2.EraseTracesResponse(traces=traces, feedback=said)

    @rpc(callers=CALLERS)
    async def GetDrift(self, request: messages_pb2.GetDriftRequest, call: Call) -> messages_pb2.GetDriftResponse:
        """Requests of some days against those before."""
        asked = DriftAsked(**{field.name: getattr(request, field.name) for field in request.DESCRIPTOR.fields})
        return write.drift(await self._drift.drift(asked, call.caller))

    @rpc(callers=CALLERS)
    async def KeepTrace(self, request: messages_pb2.KeepTraceRequest, call: Call) -> messages_pb2.TraceSummary:
        """A trace whose spans are to stay."""
        return write.summary(await self._questions.keep(request.trace_id, call.caller))

    @rpc(callers=CALLERS)
    async def AddFeedback(self, request: messages_pb2.AddFeedbackRequest, call: Call) -> messages_pb2.Feedback:
        """Feedback tied to a trace."""
        given = FeedbackGiven(
            trace_id=request.trace_id,
            span_id=request.span_id,
            score=request.score if request.HasField("score") else None,
            label=request.label,
            comment=request.comment,
            correction=request.correction,
            final_text=request.final_text,
        )
        return write.feedback(await self._questions.add_feedback(given, call.caller))


def filter_of(given: messages_pb2.TraceFilter) -> TraceFilter:
    """The filter that a message says. Raises BadInput: an amount that is none."""

    def optional(name: str) -> Any:
        return getattr(given, name) if given.HasField(name) else None

    def duration(name: str) -> int | None:
        value = optional(name)
        if value is None:
            return None
        if not 0 <= value <= _MOST_MS:
            raise BadInput(f"{name} is milliseconds, 0 or more", param=name)
        return int(value * 1e6)

    return TraceFilter(
        **{name: getattr(given, name) for name in _TEXTS},
        from_ns=ns(getattr(given, "from")) if given.HasField("from") else None,
        to_ns=ns(given.to) if given.HasField("to") else None,
        min_duration_ns=duration("min_duration_ms"),
        max_duration_ns=duration("max_duration_ms"),
        min_cost_nano_usd=_amount(given.min_cost_usd, "min_cost_usd"),
        max_cost_nano_usd=_amount(given.max_cost_usd, "max_cost_usd"),
        min_feedback=optional("min_feedback"),
        max_feedback=optional("max_feedback"),
        escalated=optional("escalated"),
    )


def _amount(text: str, param: str) -> int | None:
    if not text:
        return None
    try:
        amount = nano_usd(text)
    except (ValueError, ArithmeticError) as error:
        raise BadInput(f"{param} is an amount of dollars, for example 0.002", param=param) from error
    if not 0 <= amount < 2**63:
        raise BadInput(f"{param} is an amount of dollars, 0 or more", param=param)
    return amount
