"""Generation, embedding, reranking and classifying over a fake engine."""

from __future__ import annotations

import asyncio
import struct
import time
from contextlib import aclosing
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracer,
    SpanContext,
    format_span_id,
    format_trace_id,
    use_span,
)
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from headrace_inference.domain.deployments import Deployments
from headrace_inference.domain.inference import Asker, Inference
from headrace_inference.fake import FakeEngine
from headrace_inference.metrics import Metrics
from headrace_inference.ports import Generation, Sampling
from headrace_kit.config import parse
from headrace_kit.errors import BadInput, Busy, DeadlineExceeded, NotFound, NotReady, Upstream

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
  kinds: {engine: triton-python, task: classify, model: weights, labels: [question]}
  seeing:
    engine: vllm
    model: weights
    address: http://127.0.0.1:1
    slots: 2
    accepts: [image]
    adapters: {legal: {model: weights}, medical: {model: weights}}
  drafting: {engine: triton-llamacpp, model: weights, slots: 2, speculation: {method: ngram}}
"""
NOBODY = Asker()
HELLO = Generation(messages=({"role": "user", "content": "hello"},))


class World:
    def __init__(self, engine: FakeEngine, limit: int = 4) -> None:
        self.engine = engine
        self.registry = CollectorRegistry()
        self.spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        config = parse(CONFIG % ("0" * 64, limit))
        self.deployments = Deployments(lambda name, config: engine, Metrics(self.registry))
        for name, deployment in config.deployments.items():
            self.deployments.add(name, deployment, config.catalogue).phase = "ready"
        self.fetched: list[tuple] = []
        self.inference = Inference(self.deployments, provider.get_tracer("test"), self.inline)

    async def inline(self, messages: tuple) -> tuple:
        self.fetched.append(messages)
        return ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},)

    async def text(self, generation: Generation = HELLO, name: str = "chat", asker: Asker = NOBODY) -> str:
        async with aclosing(self.inference.generate(name, generation, asker)) as chunks:
            return "".join([chunk.text async for chunk in chunks])

    def value(self, metric: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"headrace_inference_{metric}", {"deployment": "chat", **labels})

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
    what = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "triton-scripted", "gen_ai_request_model": "chat"}
    families = text_string_to_metric_families(generate_latest(world.registry).decode())
    samples = [sample for family in families for sample in family.samples if sample.name.startswith("gen_ai_server")]
    for name in ("time_to_first_token", "time_per_output_token"):
        of_it = [sample for sample in samples if name in sample.name and what.items() <= sample.labels.items()]
        assert [sample.value for sample in of_it if sample.name.endswith("_count")] == [1]
        [example] = [sample.exemplar for sample in of_it if sample.exemplar]
        assert example.labels == {
            "trace_id": format_trace_id(span.context.trace_id),
            "span_id": format_span_id(span.context.span_id),
        }


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


async def test_texts_are_classified():
    found = await World(FakeEngine()).inference.classify("kinds", ["why?", "so"])
    assert list(found.scores) == [{"question": 1.0}, {"question": 0.0}]


async def test_what_the_engine_cannot_do_is_refused_before_it_queues():
    engine = FakeEngine(gate=asyncio.Event())
    world = World(engine, limit=1)
    engine.cannot = "top_k"
    waiting = asyncio.create_task(world.text())
    with pytest.raises(BadInput) as refused:
        await waiting
    assert refused.value.param == "top_k"
    assert (engine.served, world.value("queue_seconds_count")) == ([], 0)


IMAGE = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}


def showing(*parts: dict) -> Generation:
    return Generation(messages=({"role": "user", "content": [{"type": "text", "text": "look"}, *parts]},))


@pytest.mark.parametrize(
    ("name", "part", "says"),
    [("chat", IMAGE, "text only, not image"), ("seeing", AUDIO, "text and image only, not audio")],
)
async def test_images_and_audio_need_a_deployment_that_takes_them(name, part, says):
    world = World(FakeEngine())
    with pytest.raises(BadInput, match=says) as refused:
        await world.text(showing(part), name)
    assert (refused.value.code, refused.value.param) == ("unsupported", "messages[0].content[1]")
    assert (world.fetched, world.engine.served) == ([], [])


async def test_images_are_fetched_before_the_engine_sees_them_and_texts_are_left_alone():
    world = World(FakeEngine())
    await world.text(showing(IMAGE), "seeing")
    await world.text(showing(), "seeing")
    assert [message["content"][0]["type"] for generation in world.engine.served for message in generation.messages] == [
        "image_url",
        "text",
    ]
    assert len(world.fetched) == 1


async def test_without_a_fetcher_images_must_be_inside_the_request():
    world = World(FakeEngine())
    inference = Inference(world.deployments, NoOpTracer())
    with pytest.raises(BadInput) as refused:
        await anext(inference.generate("seeing", showing(IMAGE)))
    assert refused.value.param == "messages[0].content[1].image_url.url"
    inside = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    async with aclosing(inference.generate("seeing", showing(inside))) as chunks:
        assert "".join([chunk.text async for chunk in chunks]) == "ab"


async def test_an_unknown_adapter_is_refused_with_those_there_are():
    world = World(FakeEngine())
    await world.text(replace(HELLO, adapter="legal"), "seeing")
    assert world.engine.served[0].adapter == "legal"
    with pytest.raises(BadInput, match=r"it has legal, medical.*did you mean 'legal'") as refused:
        await world.text(replace(HELLO, adapter="legale"), "seeing")
    assert refused.value.param == "adapter"
    with pytest.raises(BadInput, match="it has none"):
        await world.text(replace(HELLO, adapter="legal"))


async def test_a_deadline_reaches_the_queue():
    gate = asyncio.Event()
    world = World(FakeEngine(gate=gate), limit=9)
    admission = world.deployments.get("drafting").admission
    running = [asyncio.create_task(world.text(name="drafting")) for _ in range(2)]
    while admission.running < 2:
        await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded):
        await world.text(name="drafting", asker=Asker("t", time.monotonic() + 0.001))
    assert world.value("refused_total", deployment="drafting", reason="deadline") == 1
    gate.set()
    await asyncio.gather(*running)


async def test_tenants_are_served_in_turn():
    world = World(FakeEngine(["word"] * 100))
    admission = world.deployments.get("drafting").admission
    admission.resize(1, 99)
    gate = world.engine.gate = asyncio.Event()
    tasks = []
    for number in range(9):
        asker = Asker("flood" if number < 8 else "other")
        tasks.append(asyncio.create_task(world.text(replace(HELLO, tenant=asker.tenant), "drafting", asker)))
        await asyncio.sleep(0)
    while admission.waiting < 8:
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)
    assert [generation.tenant for generation in world.engine.served].index("other") <= 2


async def test_rows_take_places_and_an_unloaded_deployment_says_how_to_load_it():
    world = World(FakeEngine())
    world.deployments.get("vectors").phase = "unloaded"
    with pytest.raises(NotReady, match="headrace models load vectors"):
        await world.inference.embed("vectors", ["a"], truncate=False)
    assert world.deployments.get("order").admission.slots == 64


async def test_speculation_is_turned_down_by_what_is_accepted():
    engine = FakeEngine(["word"] * 100)
    engine.acceptance = 0.02
    world = World(engine)
    for _ in range(8):
        await world.text(name="drafting")
    first, *_, last = [generation.max_draft_tokens for generation in engine.served]
    assert first > 0
    assert last == 0
    assert world.value("speculation_max_draft_tokens", deployment="drafting") == 0
    assert world.value("speculation_acceptance", deployment="drafting") == pytest.approx(0.02)
    assert world.value("draft_tokens_total", deployment="drafting", verdict="proposed") > 0
    span = world.spans.get_finished_spans()[0]
    assert span.attributes["headrace.speculation.max_draft_tokens"] == first
    assert span.attributes["headrace.speculation.acceptance"] == 0.02
    await world.text(replace(HELLO, max_draft_tokens=3), "drafting")
    assert engine.served[-1].max_draft_tokens == 3, "a request's own wish stands"
    await world.text()
    assert engine.served[-1].max_draft_tokens is None, "nothing is drafted there"


async def test_requests_for_log_probabilities_are_neither_drafted_for_nor_learned_from():
    engine = FakeEngine(["word"] * 100)
    world = World(engine)
    for measured in (replace(HELLO, want_stats=True), replace(HELLO, sampling=Sampling(top_logprobs=0))):
        for _ in range(20):
            await world.text(measured, "drafting")
    assert {generation.max_draft_tokens for generation in engine.served} == {0}
    await world.text(name="drafting")
    assert engine.served[-1].max_draft_tokens > 0, "nothing was held against drafts"


async def test_gauges_are_read_from_the_deployment_and_go_with_it():
    world = World(FakeEngine(["one"] * 5))
    await world.text()
    world.deployments.get("chat").stats = replace(await world.engine.stats(), kv_cache_used=0.25)
    world.deployments.get("chat").health = await world.engine.health()
    assert world.value("kv_cache_used") == 0.25
    assert world.value("tokens_per_second") == pytest.approx(0.5)
    assert (world.value("running"), world.value("waiting"), world.value("ready")) == (0, 0, 1)
    world.deployments.drop("chat")
    assert world.value("running") is None
    with pytest.raises(NotFound):
        await world.text()


async def test_a_trace_that_is_not_recorded_gets_no_span():
    world = World(FakeEngine())
    unsampled = SpanContext(trace_id=1, span_id=1, is_remote=True)
    with use_span(NonRecordingSpan(unsampled)):
        assert await world.text() == "ab"
    assert world.spans.get_finished_spans() == ()
    await world.text()
    assert len(world.spans.get_finished_spans()) == 1
