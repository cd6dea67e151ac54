"""The OTLP/gRPC receiver, on a port of its own, and on the same port what the gateway tells of its requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from grpc import aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError, row
from headrace_kit.rpc.status import to_status, trailers
from headrace_protos.tracing.v1.records_pb2 import TakeRecordsResponse
from headrace_tracing.metrics import Metrics
from headrace_tracing.otlp_api.decode import Decoded
from headrace_tracing.otlp_api.intake import MAX_EXPORT_BYTES, Intake

_log = logging.getLogger(__name__)
SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
RECORDS = "headrace.tracing.v1.RecordService"
MAX_EXPORTS = 64
"""Exports at one time; more wait in their connections' queues."""

RETRY_S = 0.5
"""Between two tries to take the port."""

_RETRY_INFO = "google.rpc.retryinfo-bin"


class OtlpServer:
    """Takes spans from any OpenTelemetry SDK or collector, and records of requests from the gateway.

    There are no credentials in OTLP between services, nor for records: who may reach the port is up to the network
    (loopback, a NetworkPolicy). The tenant of a span is what the span says.
    """

    def __init__(self, intake: Intake, metrics: Metrics) -> None:
        self._intake = intake
        self._metrics = metrics
        self._server: aio.Server | None = None
        self._wanted = ("", 0)
        self._retry: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one, which is then in `port`.

        A port that is taken is tried again until it is free, and `problems` says so meanwhile: while a replica is being
        replaced, the older one on the same machine holds it until it has stopped.
        """
        self._wanted = (host, port)
        if not await self._listen():
            self._retry = asyncio.create_task(self._listen_later())

    def problems(self) -> list[str]:
        """Why no spans can be taken; empty when they can."""
        return [] if self.port else ["OTLP cannot listen on {}:{}: in use?".format(*self._wanted)]

    async def stop(self, grace_s: float = 2) -> None:
        """Stop to listen; open exports get `grace_s` to end."""
        await end(self._retry)
        if self._server is not None:
            await self._server.stop(grace_s)

    async def _listen_later(self) -> None:
        _log.warning(self.problems()[0])
        while True:
            await asyncio.sleep(RETRY_S)
            if await self._listen():
                return

    async def _listen(self) -> bool:
        # Bytes go in and out, so that a malformed message is the sender's fault and not an internal error.
        calls = ((SERVICE, "Export", self._export), (RECORDS, "TakeRecords", self._take_records))
        server = aio.server(
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_EXPORT_BYTES)],
            maximum_concurrent_rpcs=MAX_EXPORTS,
        )
        server.add_generic_rpc_handlers(
            tuple(
                grpc.method_handlers_generic_handler(service, {name: grpc.unary_unary_rpc_method_handler(answer)})
                for service, name, answer in calls
            )
        )
        try:
            port = server.add_insecure_port("{}:{}".format(*self._wanted))
        except RuntimeError:
            return False
        await server.start()
        self._server, self.port = server, port
        return True

    async def _export(self, raw: bytes, context: Any) -> bytes:
        return _answer(await self._taken(self._intake.take(raw), context)).SerializeToString()

    async def _take_records(self, raw: bytes, context: Any) -> bytes:
        decoded = await self._taken(self._intake.take_records(raw), context)
        if not decoded.rejected:
            return TakeRecordsResponse().SerializeToString()
        return TakeRecordsResponse(rejected=decoded.rejected.total(), message=decoded.why).SerializeToString()

    async def _taken(self, taking: Awaitable[Decoded], context: Any) -> Decoded:
        try:
            return await taking
        except HeadraceError as error:
            if row(error).grpc is grpc.StatusCode.INVALID_ARGUMENT:
                self._metrics.exports_refused.labels("malformed").inc()
            status = to_status(error, "")
            sent: list[tuple[str, str | bytes]] = [*trailers(status)]
            if error.retry_after_s is not None:
                wait = Duration()
                wait.FromMilliseconds(round(error.retry_after_s * 1000))
                sent.append((_RETRY_INFO, RetryInfo(retry_delay=wait).SerializeToString()))
            await context.abort(row(error).grpc, status.message, tuple(sent))
        except Exception:
            _log.exception("an export failed")
            self._metrics.exports_refused.labels("internal").inc()
            await context.abort(grpc.StatusCode.INTERNAL, "something went wrong on our side")
        raise AssertionError("an aborted call goes no further")


def _answer(decoded: Decoded) -> ExportTraceServiceResponse:
    if not decoded.rejected:
        return ExportTraceServiceResponse()
    return ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=decoded.rejected.total(), error_message=decoded.why)
    )
