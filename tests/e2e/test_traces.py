"""Traces of the whole platform: every hop under its right parent, and nothing planted in any file of it."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from pathlib import Path

import grpc
import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from headrace_protos.rollout.v1 import messages_pb2 as rollout
from headrace_protos.rollout.v1.service_pb2_grpc import RolloutServiceStub
from headrace_protos.tracing.v1 import messages_pb2
from headrace_protos.tracing.v1.service_pb2_grpc import TracingServiceStub
from tests.e2e.test_answers import QUESTION, handbook

__all__ = ["handbook"]

EDGES = {
    ("gateway", "gateway"),
    ("gateway", "retrieval"),
    ("gateway", "inference"),
    ("retrieval", "inference"),
}
"""Who calls whom for an answer that is cascaded, grounded, guarded and streamed."""


def edges_of(spans: list[dict]) -> set[tuple[str, str]]:
    """Who called whom."""
    by_id = {span["span_id"]: span["service"] for span in spans}
    parents = [(by_id.get(span.get("parent_span_id")), span["service"]) for span in spans]
    return {(caller, called) for caller, called in parents if caller is not None}


async def traced(world, trace_id: str, edges: set[tuple[str, str]]) -> dict:
    """A trace once somebody called whom he should, and no span misses its parent: services send at their own times."""
    deadline = time.monotonic() + 60
    async with world.http() as client:
        while True:
            answer = await client.get(f"/v1/traces/{trace_id}")
            spans = answer.json().get("spans", []) if answer.status_code == 200 else []
            ids = {span["span_id"] for span in spans}
            orphans = [span for span in spans if span.get("parent_span_id") and span["parent_span_id"] not in ids]
            if edges <= edges_of(spans) and not orphans:
                return answer.json()
            assert time.monotonic() < deadline, (answer.status_code, edges_of(spans), orphans)
            await asyncio.sleep(0.25)


async def test_each_hop_of_a_cascaded_grounded_guarded_streamed_answer_has_its_right_parent(world, openai, handbook):
    stream = await openai.chat.completions.create(
        model="assistant",
        messages=[{"role": "user", "content": f"{QUESTION} Write to ana.silva@example.org."}],
        max_tokens=16,
        stream=True,
        extra_body={"headrace": {"collections": [handbook]}},
    )
    chunks = [chunk async for chunk in stream]
    outcome = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason][-1].model_extra[
        "headrace"
    ]
    trace = await traced(world, outcome["trace_id"], EDGES)
    spans = {span["span_id"]: span for span in trace["spans"]}
    roots = [span for span in spans.values() if not span.get("parent_span_id")]
    assert [root["service"] for root in roots] == ["gateway"]
    assert edges_of(trace["spans"]) - EDGES <= {("retrieval", "retrieval"), ("inference", "inference")}
    attempts = [decision["deployment"] for decision in trace["decisions"]]
    assert attempts[0] == "small"
    assert attempts[-1] == outcome["deployment"]
    # The sums of a trace are those of its attempts: what the answer said that it cost.
    assert trace["cost_usd"] == outcome["cost_usd"]
    assert any(found["check"] == "pii" for found in trace["findings"])
    assert "ana.silva@example.org" not in str(trace)
    await told_the_same_over_grpc(world, trace)


async def told_the_same_over_grpc(world, trace: dict) -> None:
    """The gateway answers for traces by gRPC too, by the same key, and for rollouts not by a team's."""
    metadata = (("authorization", f"Bearer {world.env['HEADRACE_API_KEY']}"), ("application", "gateway"))
    async with grpc.aio.insecure_channel(world.env["HEADRACE_GRPC"]) as channel:
        stub = TracingServiceStub(channel)
        found = await stub.GetTrace(messages_pb2.GetTraceRequest(trace_id=trace["trace_id"]), metadata=metadata)
        assert {span.span_id for span in found.spans} == {span["span_id"] for span in trace["spans"]}
        assert found.cost_usd == trace["cost_usd"]
        request = messages_pb2.AggregateRequest(group_by=["model"])
        rows = (await stub.Aggregate(request, metadata=metadata)).rows
        assert "assistant" in {row.group["model"] for row in rows if row.measures.requests}
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetTrace(messages_pb2.GetTraceRequest(trace_id="1" * 32), metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await RolloutServiceStub(channel).ListRollouts(rollout.ListRolloutsRequest(), metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_what_was_planted_in_a_chat_is_in_no_file_of_the_platform(world):
    marks = {
        "address": f"zora.{secrets.token_hex(5)}@example.net",
        "key": f"AKIA{base64.b32encode(secrets.token_bytes(10)).decode()}",
        "token": f"ghp_{secrets.token_hex(18)}",
    }
    async with world.http() as client:
        for model in ("scripted", "unguarded"):
            text = f"My address is {marks['address']}, the key {marks['key']} and the token {marks['token']}."
            body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8}
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
            trace = await traced(world, answer.json()["headrace"]["trace_id"], {("gateway", "inference")})
            assert trace["content"]["input"], "the content was kept, with something in the place of what was planted"
            for kind, mark in marks.items():
                assert mark not in str(trace), kind
    # Rows, write-ahead logs, event logs, logs: as they are on disk.
    found = {}
    for path in Path(world.platform.layout.data_dir).rglob("*"):
        if path.is_file() and not path.is_symlink():
            try:
                held = path.read_bytes()
            except OSError:
                continue  # it went while we looked
            found |= {kind: path for kind, mark in marks.items() if mark.encode() in held}
    assert found == {}


async def examples(world, service: str) -> set[str]:
    """Traces that the histograms of the conventions name, in the service's metrics as Prometheus asks for them."""
    url = f"http://127.0.0.1:{world.platform.port(f'{service}-ops')}/metrics"
    async with httpx.AsyncClient(timeout=30) as client:
        told = await client.get(url, headers={"accept": "application/openmetrics-text;version=1.0.0"})
    assert told.headers["content-type"].startswith("application/openmetrics-text"), told.text
    families = [family for family in text_string_to_metric_families(told.text) if family.name.startswith("gen_ai_")]
    return {sample.exemplar.labels["trace_id"] for of in families for sample in of.samples if sample.exemplar}


async def test_metrics_of_model_calls_name_their_traces_as_examples(world, openai):
    answer = await openai.chat.completions.create(
        model="small", messages=[{"role": "user", "content": "Say hello."}], max_tokens=4
    )
    trace_id = answer.model_extra["headrace"]["trace_id"]
    deadline = time.monotonic() + 30
    for service in ("gateway", "inference"):
        while trace_id not in (found := await examples(world, service)):
            assert time.monotonic() < deadline, (service, trace_id, found)
            await asyncio.sleep(0.25)
    for service in ("retrieval", "guardrails", "tracing", "rollout"):
        assert await examples(world, service) == set()
