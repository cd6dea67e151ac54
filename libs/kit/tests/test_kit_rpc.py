"""The servicer decorator and the client over a real grpc.aio server and a real Ed25519 identity."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc import aio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from headrace_kit import errors
from headrace_kit.rpc import Call, Identity, Outbound, Peer, RpcRuntime, rpc
from headrace_kit.rpc.identity import Signer, Verifier, write_keys
from headrace_protos.inference.v1 import messages_pb2 as m
from headrace_protos.inference.v1 import service_pb2_grpc as api

ME = Identity(
    service="gateway", tenant="dev", key_id="k1", user="ann", groups=("staff",), scopes=frozenset({"read_all"})
)


class Servicer(api.InferenceServiceServicer):
    def __init__(self, runtime: RpcRuntime) -> None:
        self.rpc_runtime = runtime
        self.calls: list[Call] = []
        self.cancelled = asyncio.Event()
        self.raises: BaseException | None = None

    @rpc(callers={"gateway"})
    async def Embed(self, request, call):
        self.calls.append(call)
        if self.raises:
            raise self.raises
        if request.deployment == "slow":
            try:
                await asyncio.sleep(30)
            finally:
                self.cancelled.set()
        return m.EmbedResponse()

    @rpc(callers={"gateway"})
    async def GenerateStream(self, request, call) -> AsyncIterator[m.GenerateChunk]:
        self.calls.append(call)
        try:
            for n in range(1000):
                yield m.GenerateChunk(text=str(n))
                if self.raises:
                    raise self.raises
                if n:
                    await asyncio.sleep(0.01)
        finally:
            self.cancelled.set()

    @rpc(callers={"retrieval"})
    async def Rerank(self, request, call):
        return m.RerankResponse()


class World:
    def __init__(self, folder) -> None:
        write_keys(folder, ("gateway", "inference", "guardrails"))
        self.folder = folder
        self.spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.registry = CollectorRegistry()
        runtime = RpcRuntime.create(
            "inference", Verifier("inference", folder), provider.get_tracer("test"), self.registry
        )
        self.servicer = Servicer(runtime)
        self.server = aio.server()
        api.add_InferenceServiceServicer_to_server(self.servicer, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def peer(self, service="gateway", audience="inference") -> Peer:
        return Peer(audience, self.address, Signer(service, self.folder))


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path / "signing")
    await world.server.start()
    yield world
    await world.server.stop(0)


async def embed(peer: Peer, deployment="", outbound=None):
    stub = peer.stub(api.InferenceServiceStub)
    try:
        return await peer.unary(stub.Embed, m.EmbedRequest(deployment=deployment), outbound or Outbound(ME, "req-1"))
    finally:
        await peer.close()


async def test_identity_request_id_and_trace_reach_the_servicer(world):
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await embed(world.peer(), outbound=Outbound(ME, "req-1", config_hash="abc", traceparent=parent))
    call = world.servicer.calls[0]
    assert (call.caller, call.request_id, call.config_hash) == (ME, "req-1", "abc")
    (span,) = world.spans.get_finished_spans()
    assert format(span.context.trace_id, "032x") == "0af7651916cd43dd8448eb211c80319c"
    assert span.attributes["headrace.tenant"] == "dev"
    assert b'headrace_inference_rpc_seconds_count{code="OK",method="Embed"} 1.0' in generate_latest(world.registry)


@pytest.mark.parametrize("cls", sorted(errors.STATUS, key=lambda c: c.__name__))
async def test_every_error_arrives_as_the_same_class(world, cls):
    world.servicer.raises = cls("said so", param="messages[0]", retry_after_s=1.5)
    with pytest.raises(errors.HeadraceError) as caught:
        await embed(world.peer())
    assert type(caught.value) is cls
    assert errors.row(caught.value) == errors.STATUS[cls]
    assert (caught.value.code, caught.value.param, caught.value.retry_after_s) == (cls.code, "messages[0]", 1.5)
    assert caught.value.message == ("said so" if cls is not errors.HeadraceError else errors.INTERNAL_MESSAGE)


async def test_an_unexpected_exception_leaks_nothing(world):
    world.servicer.raises = ValueError("the password is swordfish")
    with pytest.raises(errors.HeadraceError) as caught:
        await embed(world.peer())
    assert type(caught.value) is errors.HeadraceError
    assert "swordfish" not in caught.value.message


async def test_error_in_the_middle_of_a_stream(world):
    world.servicer.raises = errors.Upstream("the engine died")
    peer = world.peer()
    got = []
    with pytest.raises(errors.Upstream, match="the engine died"):
        async for chunk in peer.stream(
            peer.stub(api.InferenceServiceStub).GenerateStream, m.GenerateRequest(), Outbound(ME)
        ):
            got.append(chunk.text)
    assert got == ["0"]
    await peer.close()


async def test_closing_a_stream_early_cancels_the_servicer(world):
    peer = world.peer()
    stream = peer.stream(peer.stub(api.InferenceServiceStub).GenerateStream, m.GenerateRequest(), Outbound(ME))
    assert (await anext(stream)).text == "0"
    await stream.aclose()
    await asyncio.wait_for(world.servicer.cancelled.wait(), 5)
    await peer.close()


async def test_a_deadline_ends_the_call_at_both_ends(world):
    with pytest.raises(errors.DeadlineExceeded):
        await embed(world.peer(), "slow", Outbound(ME).within(0.1))
    await asyncio.wait_for(world.servicer.cancelled.wait(), 5)


async def test_a_deadline_that_only_metadata_carries_is_kept(world):
    peer = world.peer()
    metadata = peer.metadata(Outbound(ME).within(0.1))
    with pytest.raises(aio.AioRpcError) as caught:
        await peer.stub(api.InferenceServiceStub).Embed(m.EmbedRequest(deployment="slow"), metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await peer.close()


async def test_a_deadline_that_only_metadata_carries_ends_a_stream(world):
    peer = world.peer()
    call = peer.stub(api.InferenceServiceStub).GenerateStream(
        m.GenerateRequest(), metadata=peer.metadata(Outbound(ME).within(0.1))
    )
    got = []
    with pytest.raises(aio.AioRpcError) as caught:
        async for chunk in call:
            got.append(chunk.text)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert got
    await asyncio.wait_for(world.servicer.cancelled.wait(), 5)
    await peer.close()


async def test_only_named_callers_may_call(world):
    peer = world.peer()
    with pytest.raises(errors.Forbidden):
        await peer.unary(peer.stub(api.InferenceServiceStub).Rerank, m.RerankRequest(), Outbound(ME))
    await peer.close()


async def test_a_token_for_another_service_is_refused(world):
    with pytest.raises(errors.Unauthenticated):
        await embed(world.peer(audience="guardrails"))


async def test_a_key_cannot_sign_for_another_service(world):
    peer = world.peer("guardrails")
    peer._signer._service = "gateway"  # a guardrails pod that says it is the gateway
    with pytest.raises(errors.Unauthenticated):
        await embed(peer)


async def test_no_token_is_refused(world):
    async with aio.insecure_channel(world.address) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await api.InferenceServiceStub(channel).Embed(m.EmbedRequest())
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_peer_that_is_away_is_upstream(tmp_path):
    write_keys(tmp_path, ("gateway",))
    with pytest.raises(errors.Upstream):
        await embed(Peer("inference", "127.0.0.1:1", Signer("gateway", tmp_path)))
