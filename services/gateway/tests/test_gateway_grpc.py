"""The gRPC front on a real server."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import grpc
import pytest
from grpc import aio
from opentelemetry.trace import NoOpTracer

from headrace_gateway.budgets.state import BudgetReader
from headrace_gateway.fakes import Script
from headrace_gateway.grpc_api.gateway import GatewayServicer
from headrace_gateway.grpc_api.once import GrpcOnce
from headrace_gateway.ledger.usage import UsageRow
from headrace_kit.errors import NotReady, Upstream
from headrace_kit.rpc import RpcRuntime
from headrace_kit.rpc.identity import Verifier
from headrace_kit.rpc.status import from_rpc_error
from headrace_protos.common.v1 import chat_pb2
from headrace_protos.gateway.v1 import messages_pb2 as pb
from headrace_protos.gateway.v1 import service_pb2_grpc

AUTH = (("authorization", "Bearer hr_dev"),)


async def no_store(_):
    raise NotReady("no store")


@contextlib.asynccontextmanager
async def serving(rig, usage=None):
    runtime = RpcRuntime.create("gateway", Verifier("gateway", Path("nowhere")), NoOpTracer(), rig.registry)
    server = aio.server()
    once = GrpcOnce(rig.once, rig.in_flight)
    servicer = GatewayServicer(
        runtime, rig.door, rig.pipeline, rig.vectors, once, usage, BudgetReader(rig.book, no_store), None
    )
    service_pb2_grpc.add_GatewayServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield service_pb2_grpc.GatewayServiceStub(channel)
    finally:
        await server.stop(None)


def hi(model="plain", **more):
    message = chat_pb2.Message(role="user", parts=[chat_pb2.ContentPart(text="hi")])
    return pb.GenerateRequest(model=model, messages=[message], **more)


async def refused(call):
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value, from_rpc_error(caught.value)


async def test_whole_and_streamed_answers(rig):
    rig.engine.scripts["small"] = [Script(["Hel", "lo"])]
    async with serving(rig) as stub:
        answer = await stub.Generate(hi(), metadata=AUTH)
        assert (answer.choices[0].text, answer.usage.output_tokens) == ("Hello", 2)
        assert answer.headrace.request_id == answer.id and answer.headrace.deployment == "small"
        chunks = [chunk async for chunk in stub.GenerateStream(hi(), metadata=AUTH)]
    assert "".join(chunk.text for chunk in chunks) == "Hello"
    assert chunks[-1].finish_reason == "stop" and chunks[-1].headrace.cost_usd == "0.000014"
    assert not any(chunk.HasField("headrace") for chunk in chunks[:-1])
    assert [left.ctx.arrival.transport for left in rig.left] == ["grpc", "grpc"]


async def test_a_caller_cannot_choose_the_request_id(rig):
    async with serving(rig) as stub:
        answer = await stub.Generate(hi(), metadata=(*AUTH, ("headrace-request-id", "mine")))
    assert answer.id != "mine" and rig.closed()[0].request_id == answer.id


async def test_errors_carry_their_details(rig):
    async with serving(rig) as stub:
        error, typed = await refused(stub.Generate(hi()))
        assert (error.code(), typed.code) == (grpc.StatusCode.UNAUTHENTICATED, "missing_api_key")
        error, typed = await refused(stub.Generate(hi("plian"), metadata=AUTH))
        assert (error.code(), typed.code, typed.param) == (grpc.StatusCode.NOT_FOUND, "model_not_found", "model")
        bad = hi(sampling=chat_pb2.Sampling(temperature=9))
        error, typed = await refused(stub.Generate(bad, metadata=AUTH))
        assert (error.code(), typed.param) == (grpc.StatusCode.INVALID_ARGUMENT, "sampling.temperature")
        nan = hi(sampling=chat_pb2.Sampling(top_p=float("nan")))
        assert (await refused(stub.Generate(nan, metadata=AUTH)))[1].param == "sampling.top_p"
        blocked = hi("guarded")
        blocked.messages[0].parts[0].text = "bluebird"
        error, typed = await refused(stub.Generate(blocked, metadata=AUTH))
        assert (error.code(), typed.code) == (grpc.StatusCode.FAILED_PRECONDITION, "content_filter")
    assert rig.in_flight.total == 0


async def test_a_stream_that_breaks_off_and_one_that_takes_too_long(rig):
    rig.engine.scripts["small"] = [Script(["half"], error=Upstream("gone")), Script(["half"], hang=True)]
    async with serving(rig) as stub:
        for code, limit_s in ((grpc.StatusCode.UNAVAILABLE, 60), (grpc.StatusCode.DEADLINE_EXCEEDED, 3)):
            seen = []
            with pytest.raises(aio.AioRpcError) as caught:
                async for chunk in stub.GenerateStream(hi(), metadata=AUTH, timeout=limit_s):
                    seen.append(chunk.text)
            assert (seen, caught.value.code()) == (["half"], code)
        # The client's clock may be ahead of the server's.
        async with asyncio.timeout(5):
            while len(rig.closed()) < 2:
                await asyncio.sleep(0.01)
    assert rig.engine.calls[1].cancelled
    assert [event.error_code for event in rig.closed()] == ["upstream_failed", "deadline_exceeded"]


async def test_embed_rerank_and_models(rig):
    async with serving(rig) as stub:
        vectors = await stub.Embed(pb.EmbedRequest(model="minilm", texts=["a", "b"]), metadata=AUTH)
        assert [list(entry.values) for entry in vectors.embeddings] == [[1.0, 0.0], [1.0, 0.0]]
        ranked = await stub.Rerank(pb.RerankRequest(model="reranker", query="q", documents=["a", "bb"]), metadata=AUTH)
        assert [entry.index for entry in ranked.results] == [1, 0]
        models = await stub.ListModels(pb.ListModelsRequest(), metadata=AUTH)
        assert {model.id: model.task for model in models.models}["minilm"] == "embedding"


KEYED = (*AUTH, ("idempotency-key", "k-1"))


async def test_a_repeat_gets_the_same_messages(rig):
    rig.engine.scripts["small"] = [Script(["Hel", "lo"])]
    async with serving(rig) as stub:
        first, again = [[chunk async for chunk in stub.GenerateStream(hi(), metadata=KEYED)] for _ in range(2)]
        whole, _ = await refused(stub.Generate(hi(), metadata=KEYED))
    assert (first[-1].headrace.idempotency, again[-1].headrace.idempotency) == ("new", "replayed")
    for chunk in (first[-1], again[-1]):
        chunk.headrace.idempotency = ""
    assert first == again and len(rig.engine.calls) == 1
    assert whole.code() is grpc.StatusCode.ABORTED and rig.in_flight.total == 0


async def test_vectors_and_rankings_repeat_and_tell_their_outcome(rig):
    asked = pb.EmbedRequest(model="minilm", texts=["a"], end_user="ada")
    ranked = pb.RerankRequest(model="reranker", query="q", documents=["a", "bb"])
    async with serving(rig) as stub:
        for call, request, key in ((stub.Embed, asked, "e"), (stub.Rerank, ranked, "r")):
            answers = [await call(request, metadata=(*AUTH, ("idempotency-key", key))) for _ in range(2)]
            assert [answer.headrace.idempotency for answer in answers] == ["new", "replayed"]
            assert answers[0].headrace.request_id == answers[1].headrace.request_id
            assert not (await call(request, metadata=AUTH)).headrace.idempotency
    assert len(rig.closed()) == 4


async def test_a_failure_under_a_key_is_told_and_not_kept(rig):
    rig.engine.scripts["small"] = [Script((), error=Upstream("the engine died")), Script()]
    async with serving(rig) as stub:
        raw, error = await refused(stub.Generate(hi(), metadata=KEYED))
        assert raw.code() is grpc.StatusCode.UNAVAILABLE and error.message == "the engine died"
        assert (await stub.Generate(hi(), metadata=KEYED)).headrace.idempotency == "new"
        raw, error = await refused(stub.Generate(hi(), metadata=(*AUTH, ("idempotency-key", "a b"))))
    assert error.param == "idempotency-key"


async def test_the_end_user_and_metadata_pass(rig):
    async with serving(rig) as stub:
        await stub.Generate(hi(end_user="ada", metadata={"team": "blue"}), metadata=AUTH)
        assert rig.left[-1].ctx.attributes["headrace.metadata.team"] == "blue"
        for bad in ({"k" * 65: "v"}, {"k": "v" * 513}, {str(number): "" for number in range(17)}):
            raw, error = await refused(stub.Generate(hi(metadata=bad), metadata=AUTH))
            assert raw.code() is grpc.StatusCode.INVALID_ARGUMENT and error.param == "metadata"


async def test_usage_is_a_tenants_own(rig):
    asked = []

    async def usage(query):
        asked.append(query)
        return [UsageRow(("plain",), 2, 10, 3, 1_000_000, 0)]

    async with serving(rig, usage) as stub:
        answer = await stub.GetUsage(pb.GetUsageRequest(group_by=["model"]), metadata=AUTH)
        raw, _ = await refused(stub.GetUsage(pb.GetUsageRequest(tenant="other"), metadata=AUTH))
        assert raw.code() is grpc.StatusCode.PERMISSION_DENIED
        raw, error = await refused(stub.GetUsage(pb.GetUsageRequest(group_by=["colour"]), metadata=AUTH))
        assert error.param == "group_by"
    [row] = answer.rows
    assert (dict(row.groups), row.requests, row.cost_usd) == ({"model": "plain"}, 2, "0.001")
    assert asked[0].tenant == "dev"
