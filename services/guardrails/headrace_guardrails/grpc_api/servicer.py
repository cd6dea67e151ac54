"""GuardrailsService over the domain."""

from __future__ import annotations

from collections.abc import AsyncIterator

from opentelemetry import trace

from headrace_detectors import Finding
from headrace_guardrails.domain.guard import Guard, GuardedStream
from headrace_guardrails.domain.policies import Policies
from headrace_guardrails.grpc_api.convert import action_proto, direction_of, findings_proto, policy_proto
from headrace_guardrails.metrics import Metrics
from headrace_kit.rpc.call import Call
from headrace_kit.rpc.servicer import RpcRuntime, rpc
from headrace_protos.guardrails.v1 import messages_pb2 as pb
from headrace_protos.guardrails.v1 import service_pb2_grpc

_CALLERS = frozenset({"gateway"})


class GuardrailsServicer(service_pb2_grpc.GuardrailsServiceServicer):
    """Translates; the domain decides."""

    def __init__(self, runtime: RpcRuntime, guard: Guard, policies: Policies, metrics: Metrics) -> None:
        self.rpc_runtime = runtime
        self._guard = guard
        self._policies = policies
        self._metrics = metrics

    @rpc(callers=_CALLERS)
    async def Check(self, request: pb.CheckRequest, call: Call) -> pb.CheckResponse:
        """Judge a whole text."""
        direction = direction_of(request.direction)
        verdict = await self._guard.check(request.policy, direction, request.text, call.config_hash)
        _describe(request.policy, direction, verdict.action.value, verdict.findings)
        return pb.CheckResponse(
            action=action_proto(verdict.action), text=verdict.text, findings=findings_proto(verdict.findings)
        )

    @rpc(callers=_CALLERS)
    async def CheckStream(
        self, requests: AsyncIterator[pb.CheckStreamRequest], call: Call
    ) -> AsyncIterator[pb.CheckStreamResponse]:
        """Judge a text while it is made. A half-closed stream of requests is at its end."""
        stream: GuardedStream | None = None
        with self._metrics.streams.track_inprogress():
            async for request in requests:
                if stream is None:
                    direction = direction_of(request.direction)
                    stream = self._guard.stream(request.policy, direction, call.config_hash)
                    policy = request.policy
                out = stream.finish(request.delta) if request.end else stream.feed(request.delta)
                over = request.end or stream.blocked
                findings = stream.new_findings()
                if out or findings or over:
                    yield _released(stream, out, findings, end=over)
                if over:
                    _describe(policy, direction, stream.action.value, stream.findings)
                    return
            if stream is not None:
                out = stream.finish()
                yield _released(stream, out, stream.new_findings(), end=True)
                _describe(policy, direction, stream.action.value, stream.findings)

    @rpc(callers=_CALLERS)
    async def ListPolicies(self, request: pb.ListPoliciesRequest, call: Call) -> pb.ListPoliciesResponse:
        """List the policies that can be used."""
        listed = self._policies.listed()
        return pb.ListPoliciesResponse(policies=[policy_proto(name, policy) for name, policy in listed.items()])


def _released(stream: GuardedStream, text: str, findings: tuple[Finding, ...], *, end: bool) -> pb.CheckStreamResponse:
    return pb.CheckStreamResponse(
        text=text, findings=findings_proto(findings), action=action_proto(stream.action), end=end
    )


def _describe(policy: str, direction: str, action: str, findings: tuple[Finding, ...]) -> None:
    """What the span says: names and counts, nothing of the text."""
    trace.get_current_span().set_attributes(
        {
            "headrace.guardrails.policy": policy,
            "headrace.guardrails.direction": direction,
            "headrace.guardrails.action": action,
            "headrace.guardrails.findings": len(findings),
            "headrace.guardrails.kinds": sorted({finding.kind for finding in findings}),
        }
    )
