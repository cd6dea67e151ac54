"""Traces for the public: `headrace.tracing.v1` by key, and OTLP, by which an application's spans become the team's."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from headrace_gateway.admission.door import Door
from headrace_gateway.arms.ratings import Ratings
from headrace_gateway.grpc_api.passed import passing
from headrace_gateway.grpc_api.visits import visiting
from headrace_gateway.http_api.otlp import MAX_EXPORT_BYTES, PROTOBUF, taken_as
from headrace_gateway.ports import Services
from headrace_kit.errors import TooLarge
from headrace_kit.hosting import Servicing
from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.tracing.v1 import messages_pb2 as pb
from headrace_protos.tracing.v1 import service_pb2, service_pb2_grpc

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"

_PassedTracing: Any = passing(
    service_pb2.DESCRIPTOR.services_by_name["TracingService"],
    service_pb2_grpc.TracingServiceServicer,
    "tracing",
    without={"ExportSpans"},  # OTLP is how spans come
)


class PassedTracing(_PassedTracing):  # type: ignore[misc]  # made from the descriptor
    """What people say of an answer is more than tracing's: running rollouts hear of it."""

    def __init__(self, runtime: RpcRuntime, door: Door, services: Services, ratings: Ratings) -> None:
        super().__init__(runtime, door, services)
        self._ratings = ratings

    @rpc(public=True)
    async def AddFeedback(self, request: pb.AddFeedbackRequest, call: Call) -> pb.Feedback:
        """See the proto."""
        async with visiting(self._door, call, self.service, traced=False) as visit:
            return await self._ratings.add(visit.ctx, request)


class OtlpServicer(trace_service_pb2_grpc.TraceServiceServicer):
    """What the exporters of OpenTelemetry's SDKs and collectors call, with a key in their headers."""

    def __init__(self, runtime: RpcRuntime, door: Door, services: Services) -> None:
        self.rpc_runtime = runtime
        self._door, self._services = door, services

    @rpc(public=True)
    async def Export(self, request: otlp.ExportTraceServiceRequest, call: Call) -> otlp.ExportTraceServiceResponse:
        """Take spans; what was left out of them is told as the protocol says."""
        async with visiting(self._door, call, SERVICE, traced=False) as visit:
            body = request.SerializeToString()
            if len(body) > MAX_EXPORT_BYTES:
                raise TooLarge(f"an export has at most {MAX_EXPORT_BYTES} bytes")
            sent = pb.ExportSpansRequest(body=body, content_type=PROTOBUF)
            return taken_as(await self._services.call(visit.ctx, "tracing", "ExportSpans", sent))


def servicing(runtime: RpcRuntime, door: Door, services: Services, ratings: Ratings) -> list[Servicing]:
    """The servicers for a host to add."""
    return [
        Servicing(
            trace_service_pb2_grpc.add_TraceServiceServicer_to_server, OtlpServicer(runtime, door, services), SERVICE
        ),
        Servicing(
            service_pb2_grpc.add_TracingServiceServicer_to_server,
            PassedTracing(runtime, door, services, ratings),
            PassedTracing.service,
        ),
    ]
