"""How tests read traces from the service, and write spans into its store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from headrace_kit.errors import NotFound, NotReady
from headrace_kit.rpc import Identity, Outbound
from headrace_kit.stores.postgres import Postgres
from headrace_kit.telemetry import genai
from headrace_protos.tracing.v1 import messages_pb2, service_pb2_grpc
from headrace_tracing.adapters.postgres import PostgresTraceStore
from headrace_tracing.domain.spans import Span


@dataclass
class Reader:
    """What the gateway does for callers."""

    peer: object
    stub: object

    async def trace(self, trace_id: str, tenant: str = "", *scopes: str) -> messages_pb2.Trace:
        request = messages_pb2.GetTraceRequest(trace_id=trace_id)
        return await self.peer.unary(self.stub.GetTrace, request, who(tenant, *scopes))

    async def traces(self, tenant: str = "", *scopes: str, **fields) -> messages_pb2.ListTracesResponse:
        page = {name: fields.pop(name) for name in ("limit", "page_token") if name in fields}
        request = messages_pb2.ListTracesRequest(**page, filter=messages_pb2.TraceFilter(**fields))
        return await self.peer.unary(self.stub.ListTraces, request, who(tenant, *scopes))

    async def until(self, trace_id: str, tenant: str, spans: int) -> messages_pb2.Trace:
        """The trace, once it has so many spans."""
        async with asyncio.timeout(60):
            while True:
                try:
                    trace = await self.trace(trace_id, tenant)
                    if len(trace.spans) >= spans:
                        return trace
                except (NotFound, NotReady):
                    pass
                await asyncio.sleep(0.05)


def who(tenant: str, *scopes: str) -> Outbound:
    return Outbound(Identity("gateway", tenant, key_id="key-1", scopes=frozenset(scopes))).within(30)


@pytest.fixture
async def reader(part):
    peer = part.peer("tracing")
    yield Reader(peer, peer.stub(service_pb2_grpc.TracingServiceStub))
    await peer.close()


@pytest.fixture
def otlp(part) -> str:
    return f"127.0.0.1:{part.platform.port('tracing-otlp')}"


@pytest.fixture
async def pool(part):
    made = Postgres(part.dsn, "tracing")
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def store(pool) -> PostgresTraceStore:
    return PostgresTraceStore(pool)


def spans_of(trace: int, tenant: str = "red", count: int = 3, model: str = "stored") -> list[Span]:
    return [
        Span(
            trace_id=f"{trace:032x}",
            span_id=f"{number:016x}",
            parent_span_id="",
            tenant=tenant,
            service="gateway",
            name=f"span {number}",
            kind="server",
            start_ns=number,
            end_ns=number + 1,
            attributes={genai.BILLED: True, genai.COST_NANO_USD: 1, genai.REQUEST_MODEL: model},
        )
        for number in range(1, count + 1)
    ]
