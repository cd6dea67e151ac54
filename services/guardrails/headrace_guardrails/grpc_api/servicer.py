"""GuardrailsService over the domain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from opentelemetry import trace

from headrace_detectors import Action, Finding
from headrace_guardrails.domain.audit import Auditor, Entry, entry_of
from headrace_guardrails.domain.guard import Guard
from headrace_guardrails.domain.masks import Masks
from headrace_guardrails.domain.policies import Policies
from headrace_guardrails.domain.reviews import Reviews
from headrace_guardrails.domain.streams import GuardedStream
from headrace_guardrails.grpc_api import convert
from headrace_guardrails.metrics import Metrics
from headrace_guardrails.ports import Failure, Found, Subject
from headrace_kit.errors import BadInput
from headrace_kit.rpc.call import Call
from headrace_kit.rpc.servicer import RpcRuntime, rpc
from headrace_protos.guardrails.v1 import messages_pb2 as pb
from headrace_protos.guardrails.v1 import service_pb2_grpc

_CALLERS = frozenset({"gateway"})
_MOST_DECISIONS = 1000


class GuardrailsServicer(service_pb2_grpc.GuardrailsServiceServicer):
    """Translates; the domain decides."""

    def __init__(
        self,
        runtime: RpcRuntime,
        guard: Guard,
        policies: Policies,
        metrics: Metrics,
        reviews: Reviews,
        auditor: Auditor,
        masks: Masks,
        release: str,
    ) -> None:
        self.rpc_runtime = runtime
        self._guard, self._policies, self._metrics = guard, policies, metrics
        self._reviews, self._auditor, self._masks = reviews, auditor, masks
        self._release = release

    @rpc(callers=_CALLERS)
    async def Check(self, request: pb.CheckRequest, call: Call) -> pb.CheckResponse:
        """Judge a whole text."""
        subject = convert.subject_of(request, call)
        async with self._masks.session(subject) as session:
            judged = await self._guard.check(subject, request.text, call.config_hash, request.from_tier, session)
        _describe(subject, judged.would.value, judged.version, judged.findings)
        return pb.CheckResponse(
            action=convert.action_proto(judged.action),
            text=judged.text,
            findings=convert.findings_proto(judged.findings),
            review_id=judged.review_id,
            version=judged.version,
            would=convert.action_proto(judged.would),
            shadow=judged.shadow,
            failures=convert.failures_proto(judged.failures),
            release=self._release,
        )

    @rpc(callers=_CALLERS)
    async def CheckStream(
        self, requests: AsyncIterator[pb.CheckStreamRequest], call: Call
    ) -> AsyncIterator[pb.CheckStreamResponse]:
        """Judge a text while it is made. A half-closed stream of requests is at its end."""
        stream: GuardedStream | None = None
        try:
            with self._metrics.streams.track_inprogress():
                async for request in requests:
                    if stream is None:
                        subject = convert.subject_of(request, call)
                        stream = GuardedStream(self._guard, subject, call.config_hash, request.from_tier)
                    out = await (stream.finish if request.end else stream.feed)(request.delta)
                    over = request.end or stream.over
                    findings = stream.new_findings()
                    if out or findings or over:
                        yield _released(stream, out, findings, end=over)
                    if over:
                        break
                else:
                    if stream is not None:
                        out = await stream.finish()
                        yield _released(stream, out, stream.new_findings(), end=True)
                if stream is not None:
                    _describe(subject, stream.would.value, stream.version, stream.findings)
        finally:
            if stream is not None:
                await stream.aclose()

    @rpc(callers=_CALLERS)
    async def ListPolicies(self, request: pb.ListPoliciesRequest, call: Call) -> pb.ListPoliciesResponse:
        """List the policies that can be used."""
        listed = self._policies.listed()
        return pb.ListPoliciesResponse(policies=[convert.policy_proto(name, policy) for name, policy in listed.items()])

    @rpc(callers=_CALLERS)
    async def Unmask(self, request: pb.UnmaskRequest, call: Call) -> pb.UnmaskResponse:
        """Put the values of a conversation back."""
        who = call.caller
        text, restored = await self._masks.unmask(who.tenant, who.user, request.conversation_id, request.text)
        return pb.UnmaskResponse(text=text, restored=restored)

    @rpc(callers=_CALLERS)
    async def ListReviews(self, request: pb.ListReviewsRequest, call: Call) -> pb.ListReviewsResponse:
        """List escalated texts."""
        found, token = await self._reviews.list(
            call.caller,
            convert.state_of(request.state),
            request.policy,
            request.tenant,
            request.page_token,
            request.limit,
        )
        return pb.ListReviewsResponse(reviews=[convert.review_proto(one) for one in found], next_page_token=token)

    @rpc(callers=_CALLERS)
    async def GetReview(self, request: pb.GetReviewRequest, call: Call) -> pb.Review:
        """One escalated text."""
        return convert.review_proto(await self._reviews.get(call.caller, request.id))

    @rpc(callers=_CALLERS)
    async def ClaimReview(self, request: pb.ClaimReviewRequest, call: Call) -> pb.Review:
        """Make an item the caller's for a while."""
        return convert.review_proto(await self._reviews.claim(call.caller, request.id))

    @rpc(callers=_CALLERS)
    async def DecideReview(self, request: pb.DecideReviewRequest, call: Call) -> pb.Review:
        """Approve or reject an item."""
        decided = await self._reviews.decide(call.caller, request.id, request.approve, request.reason)
        self._metrics.reviews.labels(decided.state).inc()
        self._auditor.decided(decided)
        return convert.review_proto(decided)

    @rpc(callers=_CALLERS)
    async def ReleaseReview(self, request: pb.ReleaseReviewRequest, call: Call) -> pb.ReleaseReviewResponse:
        """Give an approved text to whose it is."""
        review = await self._reviews.released(call.caller, request.id)
        text = await self._guard.release(review, convert.released_of(review, call), call.config_hash)
        return pb.ReleaseReviewResponse(
            id=review.id,
            policy=review.policy,
            direction=convert.direction_proto(review.direction),
            text=text,
            expires_at=convert.time_proto(review.expires_at),
        )

    @rpc(callers=_CALLERS)
    async def RecordDecisions(self, request: pb.RecordDecisionsRequest, call: Call) -> pb.RecordDecisionsResponse:
        """Add decisions of the gateway to the audit; it is answered when they are written."""
        if len(request.decisions) > _MOST_DECISIONS:
            raise BadInput(f"at most {_MOST_DECISIONS} decisions at once", param="decisions")
        for number, sent in enumerate(request.decisions):
            if not sent.id or not sent.HasField("at"):
                raise BadInput("a decision has an id and a time", param=f"decisions[{number}]")
        await self._auditor.append([_entry(sent) for sent in request.decisions])
        return pb.RecordDecisionsResponse()

    @rpc(callers=_CALLERS)
    async def VerifyAudit(self, request: pb.VerifyAuditRequest, call: Call) -> pb.VerifyAuditResponse:
        """Walk the chain of the audit."""
        call.caller.require("admin")
        found = await self._auditor.verify()
        return pb.VerifyAuditResponse(
            intact=not found.broken_at,
            entries=found.entries,
            broken_at=found.broken_at,
            reason=found.reason,
            head=found.head.hex(),
        )

    @rpc(callers=_CALLERS)
    async def Report(self, request: pb.ReportRequest, call: Call) -> pb.ReportResponse:
        """Count decisions by what they found."""
        call.caller.require("admin")
        since, until = convert.time_of(request, "from"), convert.time_of(request, "to")
        rows = await self._auditor.report(request.policy, since, until, True if request.shadow else None)
        return pb.ReportResponse(
            rows=[
                pb.ReportRow(
                    policy=row.policy,
                    version=row.version,
                    direction=convert.direction_proto(row.direction),
                    check=row.check,
                    kind=row.kind,
                    action=convert.action_proto(Action(row.action)),
                    shadow=row.shadow,
                    decisions=row.decisions,
                )
                for row in rows
            ]
        )


def _released(stream: GuardedStream, text: str, findings: Sequence[Found], *, end: bool) -> pb.CheckStreamResponse:
    return pb.CheckStreamResponse(
        text=text,
        findings=convert.findings_proto(findings),
        action=convert.action_proto(stream.action),
        end=end,
        review_id=stream.review_id if end else "",
        failures=convert.failures_proto(stream.failures) if end else (),
        would=convert.action_proto(stream.would),
        shadow=stream.shadow,
    )


def _entry(sent: pb.Decision) -> Entry:
    at = convert.time_of(sent, "at")
    assert at is not None
    return entry_of(
        sent.id[:200],
        at,
        Subject(
            policy=sent.policy,
            direction=convert.direction_of(sent.direction),
            tenant=sent.tenant,
            user=sent.user,
            request_id=sent.request_id,
            trace_id=sent.trace_id,
        ),
        sent.version,
        convert.action_of(sent.action),
        [
            Found(
                Finding(one.check, one.kind, one.start, one.end, one.score, convert.action_of(one.action)), one.version
            )
            for one in sent.findings
        ],
        [Failure(one.check, one.reason, one.closed) for one in sent.failures],
        sent.shadow,
    )


def _describe(subject: Subject, action: str, version: str, findings: Sequence[Found]) -> None:
    """What the span says: names and counts, nothing of the text."""
    trace.get_current_span().set_attributes(
        {
            "headrace.guardrails.policy": subject.policy,
            "headrace.guardrails.version": version,
            "headrace.guardrails.direction": subject.direction,
            "headrace.guardrails.action": action,
            "headrace.guardrails.findings": len(findings),
            "headrace.guardrails.kinds": sorted({found.finding.kind for found in findings}),
        }
    )
