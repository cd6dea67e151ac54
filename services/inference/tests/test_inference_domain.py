"""Generation, embedding and reranking over a fake engine."""

from __future__ import annotations

import asyncio
import struct
from contextlib import aclosing

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from headrace_inference.domain.deployments import Deployments
from headrace_inference.domain.inference import Inference
from headrace_inference.fake import FakeEngine
from headrace_inference.metrics import Metrics
from headrace_inference.ports import Generation, Sampling
from headrace_kit.config import parse
from headrace_kit.errors import BadInput, Busy, NotFound, Upstream

CONFIG = """
catalogue:
  weights:
    format: onnx
    licence: MIT
    files: [{name: model.onnx, sha256: "%s", size: 1, sources: [{path: x}]}]
deployments:
  chat: {engine: triton-scripted, max_in_flight: %d}
  vectors: {engine: triton-python, task: embed, model: weights, dimensions: 2}
  order: {engine: triton-python, task: rerank, model: weights}
"""
HELLO = Generation(messages=({"role": "user", "content": "hello"},))


class World:
    def __init__(self, engine: FakeEngine, limit: int = 4) -> None:
        self.engine = engine
        self.registry = CollectorRegistry()
        self.spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.deployments = Deployments(parse(CONFIG % ("0" * 64, limit)), lambda name, config: engine)
        self.inference = Inference(self.deployments, provider.get_tracer("test"), Metrics(self.registry))

    async def text(self, generation: Generation = HELLO) -> str:
        async with aclosing(self.inference.generate("chat", generation)) as chunks:
            return "".join([chunk.text async for chunk in chunks])

    def ended(self, outcome: str) -> float:
        labels = {"deployment": "chat", "task": "generate", "outcome": outcome}
        return self.registry.get_sample_value("headrace_inference_requests_total", labels) or 0.0


async def test_chunks_come_in_order_and_are_counted():
    world = World(FakeEngine(["one ", "two ", "three"]))
    assert await world.text() == "one two three"
    assert world.ended("ok") == 1
    tokens = {"deployment": "chat", "kind": "output"}
    assert world.registry.get_sample_value("headrace_inference_tokens_total", tokens) == 3
    (span,) = world.spans.get_finished_spans()
    assert span.attributes["gen_ai.usage.output_tokens"] == 3
    assert span.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert span.attributes["headrace.deployment"] == "chat"


async def test_closing_the_stream_early_reaches_the_engine_and_frees_the_slot():
    world = World(FakeEngine(["one", "two", "three"]))
    async with aclosing(world.inference.generate("chat", HELLO)) as chunks:
        await anext(chunks)
        assert world.engine.open == 1
    assert world.engine.open == 0
    assert world.deployments.get("chat").admission.running == 0
    assert world.ended("cancelled") == 1


async def test_cancelling_the_task_that_waits_for_the_first_token_frees_the_slot():
    world = World(FakeEngine(gate=asyncio.Event()))
    task = asyncio.create_task(world.text())
    while not world.engine.open:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (world.engine.open, world.deployments.get("chat").admission.running) == (0, 0)
    assert world.ended("cancelled") == 1


async def test_a_full_deployment_is_busy():
    gate = asyncio.Event()
    world = World(FakeEngine(gate=gate), limit=2)
    tasks = [asyncio.create_task(world.text()) for _ in range(2)]
    while world.engine.open < 2:
        await asyncio.sleep(0)
    with pytest.raises(Busy):
        await world.text()
    gate.set()
    assert await asyncio.gather(*tasks) == ["ab", "ab"]
    assert world.ended("rate_limit_exceeded") == 1


async def test_an_engine_that_fails_in_the_middle_ends_the_stream_with_its_error_after_what_was_said():
    world = World(FakeEngine(["one", "two"], error=Upstream("gone", code="engine_failed"), fail_after=1))
    said = []
    with pytest.raises(Upstream):
        async with aclosing(world.inference.generate("chat", HELLO)) as chunks:
            async for chunk in chunks:
                said.append(chunk.text)
    assert said == ["one"]
    assert world.ended("engine_failed") == 1
    assert world.deployments.get("chat").admission.running == 0
    (span,) = world.spans.get_finished_spans()
    assert span.attributes["error.type"] == "engine_failed"
    assert span.attributes["gen_ai.usage.output_tokens"] == 1


async def test_an_engine_that_just_stops_is_an_error_not_an_answer():
    engine = FakeEngine(["one"])
    engine.honest = False
    with pytest.raises(Upstream):
        await World(engine).text()


@pytest.mark.parametrize(
    ("generation", "param"),
    [
        (Generation(), "messages"),
        (Generation(messages=HELLO.messages, prompt="x"), "messages"),
        (Generation(messages=({"role": "wizard", "content": "x"},)), "messages[0].role"),
        (Generation(prompt="x", sampling=Sampling(max_tokens=0)), "max_tokens"),
        (Generation(prompt="x", sampling=Sampling(temperature=2.5)), "temperature"),
        (Generation(prompt="x", sampling=Sampling(top_p=0)), "top_p"),
        (Generation(prompt="x", sampling=Sampling(stop=("a", ""))), "stop"),
        (Generation(prompt="x", sampling=Sampling(top_logprobs=21)), "top_logprobs"),
        (Generation(prompt="x", sampling=Sampling(n=99)), "n"),
        (Generation(prompt="x", sampling=Sampling(tool_choice="f")), "tool_choice"),
    ],
)
async def test_bad_requests_name_the_field_and_never_reach_the_engine(generation: Generation, param: str):
    world = World(FakeEngine())
    with pytest.raises(BadInput) as refused:
        await world.text(generation)
    assert refused.value.param == param
    assert world.engine.served == []


async def test_an_unknown_deployment_proposes_the_nearest_and_a_wrong_task_says_what_it_can():
    world = World(FakeEngine())
    with pytest.raises(NotFound, match="did you mean 'chat'"):
        await anext(world.inference.generate("chatt", HELLO))
    with pytest.raises(BadInput, match="can embed, not generate"):
        await anext(world.inference.generate("vectors", HELLO))


async def test_embeddings_can_be_shortened_and_stay_normalised():
    world = World(FakeEngine())
    found = await world.inference.embed("vectors", ["a", "b"], truncate=False, dimensions=1)
    assert [struct.unpack("<f", vector) for vector in found.vectors] == [(1.0,), (1.0,)]
    with pytest.raises(BadInput) as refused:
        await world.inference.embed("vectors", ["a"], truncate=False, dimensions=3)
    assert refused.value.param == "dimensions"
    with pytest.raises(BadInput):
        await world.inference.embed("vectors", [], truncate=False)


async def test_scores_keep_the_order_of_the_documents():
    found = await World(FakeEngine()).inference.rerank("order", "q", ["aaa", "a"])
    assert list(found.scores) == [3.0, 1.0]


async def test_a_config_change_keeps_what_did_not_change_and_forgets_what_is_gone():
    world = World(FakeEngine())
    before = world.deployments.get("vectors")
    world.deployments.apply(parse((CONFIG % ("0" * 64, 9)).replace("  order:", "  ordering:")))
    assert world.deployments.get("vectors") is before
    assert world.deployments.get("ordering").name == "ordering"
    with pytest.raises(NotFound):
        world.deployments.get("order")


async def test_unloading_waits_for_open_streams_and_load_reports_why_it_failed():
    gate = asyncio.Event()
    world = World(FakeEngine(gate=gate))
    stream = asyncio.create_task(world.text())
    while not world.engine.open:
        await asyncio.sleep(0)
    unload = asyncio.create_task(world.deployments.unload("chat", drain_s=30))
    while world.deployments.get("chat").shown_state.state != "draining":
        await asyncio.sleep(0)
    assert world.engine.now.state == "ready"
    gate.set()
    assert await stream == "ab"
    assert (await unload).shown_state.state == "unloaded"
    world.engine.error = Upstream("no such file")
    with pytest.raises(Upstream, match="no such file"):
        await world.deployments.load("chat")
    assert world.deployments.get("chat").state.detail == "no such file"
