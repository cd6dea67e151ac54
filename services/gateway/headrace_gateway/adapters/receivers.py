"""Who makes spans of the gateway's records: headrace's own tracing, or this process for another OTLP receiver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from grpc import aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from headrace_gateway.adapters.otlp import export_of
from headrace_kit.errors import Upstream
from headrace_protos.tracing.v1.records_pb2 import TakeRecordsRequest, TakeRecordsResponse
from headrace_protos.tracing.v1.records_pb2_grpc import RecordServiceStub

_TIMEOUT_S = 5.0


class _Receiver:
    """A connection that is made at the first call."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel: aio.Channel | None = None

    def _connected(self) -> aio.Channel:
        if self._channel is None:
            self._channel = aio.insecure_channel(self._address, options=[("grpc.max_reconnect_backoff_ms", 2000)])
        return self._channel

    async def _sent(self, call: Callable[..., Awaitable[Any]], request: Any) -> Any:
        """What is answered; None where it is refused and will not be liked better the next time. Raises Upstream."""
        try:
            return await call(request, timeout=_TIMEOUT_S)
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                return None
            raise Upstream(f"{self._address}, the receiver of spans, says {error.code().name}") from error

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()


class TracingReceiver(_Receiver):
    """Fulfils `RecordReceiver` with headrace's tracing.

    One that does not know the call is older than this process and about to be replaced: it is as good as away.

    Args:
        address: host:port of its OTLP receiver.
    """

    at_once = 512  # half a megabyte, as most records are: what a call costs is shared by them

    async def take(self, records: Sequence[bytes]) -> int:
        """See `RecordReceiver`."""
        stub = RecordServiceStub(self._connected())  # type: ignore[no-untyped-call]
        answer: TakeRecordsResponse | None = await self._sent(stub.TakeRecords, TakeRecordsRequest(records=records))
        return len(records) if answer is None else answer.rejected


class OtlpReceiver(_Receiver):
    """Fulfils `RecordReceiver` with any OTLP/gRPC receiver, for which spans are made here, without what was said.

    Args:
        address: host:port.
    """

    at_once = 64  # their spans are made on the event loop

    async def take(self, records: Sequence[bytes]) -> int:
        """See `RecordReceiver`."""
        stub = TraceServiceStub(self._connected())  # type: ignore[no-untyped-call]
        answer = await self._sent(stub.Export, export_of(records))
        return len(records) if answer is None else 0
