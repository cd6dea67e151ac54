"""OTLP over gRPC for the public: spans of an application become traces of the key's team."""

from __future__ import annotations

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from headrace_gateway.admission.door import Door
from headrace_gateway.grpc_api.visits import visiting
from headrace_gateway.http_api.otlp import MAX_EXPORT_BYTES, PROTOBUF, taken_as
from headrace_gateway.ports import Services
from headrace_kit.errors import TooLarge
from headrace_kit.hosting import Servicing
from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.tracing.v1 import messages_pb2 as pb

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


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


def servicing(runtime: RpcRuntime, door: Door, services: Services) -> Servicing:
    """The servicer for a host to add."""
    return Servicing(
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server, OtlpServicer(runtime, door, services), SERVICE
    )
