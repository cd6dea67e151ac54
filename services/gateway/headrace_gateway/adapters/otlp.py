"""An OTLP/gRPC receiver."""

from __future__ import annotations

import grpc
from grpc import aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from headrace_kit.errors import Upstream

_TIMEOUT_S = 5.0


class OtlpReceiver:
    """Fulfils `SpanReceiver`.

    Args:
        address: host:port.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel: aio.Channel | None = None

    async def export(self, request: ExportTraceServiceRequest) -> None:
        """See `SpanReceiver`."""
        if self._channel is None:
            self._channel = aio.insecure_channel(self._address, options=[("grpc.max_reconnect_backoff_ms", 2000)])
        try:
            await TraceServiceStub(self._channel).Export(  # type: ignore[no-untyped-call]
                request, timeout=_TIMEOUT_S
            )
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                return  # it will not like them better the next time
            raise Upstream("the receiver of spans is away") from error

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()
