"""Services of retrieval and tracing for the public: let in by key, passed on with the caller's identity."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc import aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.trace import NoOpTracer

from headrace_gateway.arms.ratings import Ratings
from headrace_gateway.grpc_api import retrieval, rollouts, traces
from headrace_gateway.http_api.asgi import AsgiFace
from headrace_gateway.http_api.collection_indexes import CollectionIndexesApi
from headrace_gateway.http_api.memory import MemoryApi
from headrace_kit.errors import NotFound, Upstream
from headrace_kit.rpc import RpcRuntime
from headrace_kit.rpc.identity import Verifier
from headrace_kit.rpc.status import from_rpc_error
from headrace_protos.retrieval.v1 import indexes_pb2, jobs_pb2, memory_pb2, messages_pb2, service_pb2, service_pb2_grpc
from headrace_protos.rollout.v1 import messages_pb2 as rollout
from headrace_protos.rollout.v1 import service_pb2 as rollout_service
from headrace_protos.rollout.v1.service_pb2_grpc import RolloutServiceStub
from headrace_protos.tracing.v1 import messages_pb2 as tracing
from headrace_protos.tracing.v1 import service_pb2 as tracing_service
from headrace_protos.tracing.v1.service_pb2_grpc import TracingServiceStub

AUTH = (("authorization", "Bearer hr_dev"),)
ADMIN = (("authorization", "Bearer bootstrap-secret"),)


@dataclass
class Recorded:
    """Services that note what they are asked, and answer what they were told to."""

    calls: list[tuple[str, str, Any, str]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    ratings: list[tuple[str, str, float | None]] = field(default_factory=list)

    async def call(self, ctx, service: str, method: str, request, *, timeout_s: float = 30.0):
        if not isinstance(request, messages_pb2.IngestRequest) and hasattr(request, "__aiter__"):
            request = [part async for part in request]
        self.calls.append((service, method, request, ctx.identity.tenant))
        answer = self.answers.get(method)
        if isinstance(answer, Exception):
            raise answer
        return answer


class NotedRatings(Ratings):
    """Notes of what a rollout would be told."""

    def __init__(self, services: Recorded) -> None:
        super().__init__(services, None, None)
        self._noted = services.ratings

    async def rated(self, ctx, trace_id: str, score: float | None) -> None:
        self._noted.append((ctx.identity.tenant, trace_id, score))


@pytest.fixture
def services() -> Recorded:
    return Recorded()


@contextlib.asynccontextmanager
async def serving(rig, services):
    runtime = RpcRuntime.create("gateway", Verifier("gateway", Path("nowhere")), NoOpTracer(), rig.registry)
    server = aio.server()
    passed = (
        *retrieval.servicing(runtime, rig.door, services),
        *traces.servicing(runtime, rig.door, services, NotedRatings(services)),
        rollouts.servicing(runtime, rig.door, services)
    )  # fmt: skip
    for one in passed:
        one.add(one.servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


@contextlib.asynccontextmanager
async def over_http(rig, services):
    routes = MemoryApi(services, lambda: 100_000).routes()
    transport = httpx.ASGITransport(AsgiFace(rig.application(*routes)))
    headers = {"authorization": "Bearer hr_dev"}
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as client:
        yield client


def methods() -> list[tuple[str, Any]]:
    """Service and method, of all that is passed on."""
    retrievals = service_pb2.DESCRIPTOR.services_by_name.values()
    found = [("retrieval", method) for service in retrievals for method in service.methods]
    tracings = tracing_service.DESCRIPTOR.services_by_name["TracingService"].methods
    found += [("tracing", method) for method in tracings if method.name != "ExportSpans"]
    rollings = rollout_service.DESCRIPTOR.services_by_name["RolloutService"].methods
    return found + [("rollout", method) for method in rollings if method.name != "Watch"]


async def test_every_method_is_passed_on_as_it_is(rig, services):
    assert len(methods()) > 35
    async with serving(rig, services) as channel:
        stubs = [
            service_pb2_grpc.RetrievalServiceStub(channel), service_pb2_grpc.MemoryServiceStub(channel),
            TracingServiceStub(channel),
            RolloutServiceStub(channel),
        ]  # fmt: skip
        for service, method in methods():
            request = method.input_type._concrete_class()
            services.answers[method.name] = answer = method.output_type._concrete_class()
            services.answers["EraseTraces"] = tracing.EraseTracesResponse()
            stub = next(found for one in stubs if (found := getattr(one, method.name, None)))
            sent = [request, request] if method.client_streaming else request
            services.calls.clear()
            auth, tenant = (ADMIN, "admin") if service == "rollout" else (AUTH, "dev")
            assert await stub(iter(sent) if method.client_streaming else sent, metadata=auth) == answer
            assert services.calls[0] == (service, method.name, sent, tenant)
    assert {left.ctx.arrival.transport for left in rig.left} == {"grpc"}
    assert rig.in_flight.total == 0


async def test_a_key_is_needed_and_errors_keep_their_details(rig, services):
    services.answers["ListJobs"] = NotFound("there is no collection 'x'", param="collection")
    async with serving(rig, services) as channel:
        stub = service_pb2_grpc.RetrievalServiceStub(channel)
        for metadata, code, param in (
            ((), grpc.StatusCode.UNAUTHENTICATED, "authorization"),
            (AUTH, grpc.StatusCode.NOT_FOUND, "collection"),
            ((*AUTH, ("x-headrace-user", "ada")), grpc.StatusCode.PERMISSION_DENIED, "headrace.user"),
            ((*AUTH, ("x-headrace-tenant", "red")), grpc.StatusCode.PERMISSION_DENIED, "x-headrace-tenant"),
        ):
            with pytest.raises(aio.AioRpcError) as caught:
                await stub.ListJobs(jobs_pb2.ListJobsRequest(collection="x"), metadata=metadata)
            assert (caught.value.code(), from_rpc_error(caught.value).param) == (code, param)
    assert [method for _, method, _, _ in services.calls] == ["ListJobs"]


async def test_rollouts_are_for_admins_and_grants_for_gateways(rig, services):
    async with serving(rig, services) as channel:
        stub = RolloutServiceStub(channel)
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Abort(rollout.AbortRequest(id="x"), metadata=AUTH)
        assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(aio.AioRpcError) as caught:
            await anext(aiter(stub.Watch(rollout.WatchRequest(), metadata=ADMIN)))
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert services.calls == []


async def test_what_is_said_of_an_answer_reaches_rollouts_and_spans_come_by_otlp_alone(rig, services):
    services.answers["AddFeedback"] = tracing.Feedback(id="f", score=0.5)
    async with serving(rig, services) as channel:
        stub = TracingServiceStub(channel)
        said = await stub.AddFeedback(tracing.AddFeedbackRequest(trace_id="ab" * 16, score=0.5), metadata=AUTH)
        assert said.id == "f" and services.ratings == [("dev", "ab" * 16, 0.5)]
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.ExportSpans(tracing.ExportSpansRequest(), metadata=AUTH)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_spans_by_otlp_are_the_keys_teams(rig, services, monkeypatch):
    monkeypatch.setattr("headrace_gateway.grpc_api.traces.MAX_EXPORT_BYTES", 1000)
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(name="plan")
    services.answers["ExportSpans"] = tracing.ExportSpansResponse(rejected=2, message="too long")
    async with serving(rig, services) as channel:
        stub = TraceServiceStub(channel)
        answer = await stub.Export(request, metadata=AUTH)
        told = answer.partial_success
        assert (told.rejected_spans, told.error_message) == (2, "too long")
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Export(request)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        request.resource_spans[0].scope_spans[0].spans[0].name = "x" * 1000
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Export(request, metadata=AUTH)
        assert "1000 bytes" in caught.value.details()
    [(service, method, sent, tenant)] = services.calls
    assert (service, method, tenant, sent.content_type) == ("tracing", "ExportSpans", "dev", "application/x-protobuf")
    assert ExportTraceServiceRequest.FromString(sent.body).resource_spans[0].scope_spans[0].spans[0].name == "plan"


async def test_erasing_a_person_reaches_memories_and_traces_by_both_doors(rig, services):
    services.answers["EraseMemory"] = memory_pb2.EraseMemoryResponse(facts=3, turns=2)
    services.answers["EraseTraces"] = tracing.EraseTracesResponse(traces=5, feedback=1)
    async with serving(rig, services) as channel:
        stub = service_pb2_grpc.MemoryServiceStub(channel)
        erased = await stub.EraseMemory(memory_pb2.EraseMemoryRequest(user="ada"), metadata=AUTH)
    assert erased == memory_pb2.EraseMemoryResponse(facts=3, turns=2, traces=5, feedback=1)
    (_, _, first, _), (service, _, second, _) = services.calls
    assert (first.user, service, second.tenant, second.user) == ("ada", "tracing", "dev", "ada")
    async with over_http(rig, services) as client:
        answer = await client.delete("/v1/memory/ada")
        counts = {"facts": 3, "conversations": 0, "turns": 2, "consents": 0, "left": 0, "traces": 5, "feedback": 1}
        assert answer.json() == {"user": "ada", **counts}
        services.answers["EraseTraces"] = Upstream("tracing is away")
        assert (await client.delete("/v1/memory/ada")).status_code == 502, "it does not claim what it did not do"


async def test_memories_over_http(rig, services):
    services.answers["StoreFacts"] = memory_pb2.StoreFactsResponse(job="j", ids=["tea"])
    services.answers["AppendTurns"] = memory_pb2.Conversation(id="c 1", length=1)
    async with over_http(rig, services) as client:
        fact = {"text": "Tea.", "id": "tea", "metadata": {"sure": True}, "expires_at": "2027-01-31"}
        kept = await client.post("/v1/memory/ada%40x.org/facts?wait=true&collection=m", json={"facts": [fact]})
        assert (kept.status_code, kept.json()) == (200, {"job": "j", "ids": ["tea"]})
        sent = services.calls[-1][2]
        assert (sent.user, sent.collection, sent.wait) == ("ada@x.org", "m", True)
        assert sent.facts[0].expires_at.ToJsonString() == "2027-01-31T00:00:00Z" and sent.facts[0].metadata["sure"]
        turns = {"turns": [{"role": "user", "text": "Hello."}]}
        said = await client.post("/v1/memory/ada/conversations/c%201/turns", json=turns)
        assert said.json()["id"] == "c 1" and services.calls[-1][2].conversation == "c 1"
        before = len(services.calls)
        for method, path, body, param in (
            ("POST", "facts", {"facts": [{"text": ""}]}, "facts[0].text"),
            ("POST", "facts", {"facts": [{"text": "x", "id": "a b"}]}, "facts[0].id"),
            ("POST", "facts", {"facts": [{"text": "x", "expires_at": "soon"}]}, "facts[0].expires_at"),
            ("PUT", "consent", {"granted": "yes"}, "granted"),
            ("POST", "search", {"query": "x", "top_k": 0}, "top_k"),
            ("POST", "conversations/c/turns", {"turns": [{"role": "tool", "text": "x"}]}, "turns[0].role"),
            ("GET", "conversations/c?max_tokens=0", None, "max_tokens"),
            ("GET", "?user=x", None, "user"),
        ):
            answer = await client.request(method, f"/v1/memory/ada/{path}".rstrip("/").replace("/?", "?"), json=body)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), (path, answer.text)
        assert len(services.calls) == before


async def test_reindexing_over_http(rig, services):
    job = messages_pb2.Job(id="j1", kind="reindex", state="queued", documents=4)
    services.answers["Reindex"] = job
    services.answers["ListIndexes"] = indexes_pb2.ListIndexesResponse(
        indexes=[
            indexes_pb2.IndexVersion(embedding="minilm", max_tokens=200, state="active"),
            indexes_pb2.IndexVersion(embedding="e5", max_tokens=64, state="building", job=job),
        ]
    )
    services.answers["CancelReindex"] = indexes_pb2.CancelReindexResponse()
    routes = CollectionIndexesApi(services, lambda: 1000).routes()
    transport = httpx.ASGITransport(AsgiFace(rig.application(*routes)))
    headers = {"authorization": "Bearer hr_dev"}
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway/v1/", headers=headers) as client:
        asked = {"embedding": "e5", "max_tokens": 64, "overlap_tokens": 0}
        begun = await client.post("collections/handbook/reindex", json=asked)
        assert begun.status_code == 202 and begun.json()["documents"] == 4 and "errors" not in begun.json()
        sent = services.calls[-1][2]
        assert (sent.embedding, sent.max_tokens, sent.overlap_tokens) == ("e5", 64, 0)
        assert sent.HasField("overlap_tokens")
        await client.post("collections/handbook/reindex", json={"again": True})
        assert services.calls[-1][2] == indexes_pb2.ReindexRequest(collection="handbook", again=True)
        active, building = (await client.get("collections/handbook/indexes")).json()["data"]
        assert active["job"] is None and building["job"]["id"] == "j1"
        assert (await client.delete("collections/handbook/reindex")).json()["cancelled"]
        wrong = await client.post("collections/handbook/reindex", json={"max_tokens": 8})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "max_tokens")
