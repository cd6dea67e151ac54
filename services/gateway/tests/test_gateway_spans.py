"""Spans made from compact records, and their way out."""

from __future__ import annotations

import json

import pytest

from headrace_gateway.fakes import FakeReceiver, Script
from headrace_gateway.observing.content import MOST_CHARS, attributes
from headrace_gateway.observing.export import SpanExporter
from headrace_gateway.observing.spans import Record, resource_spans
from headrace_kit.errors import Upstream
from headrace_kit.telemetry import genai
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message, Sampling
from headrace_protos.retrieval.v1.messages_pb2 import Passage


def plain(span):
    values = {}
    for entry in span.attributes:
        kind = entry.value.WhichOneof("value")
        value = getattr(entry.value, kind)
        values[entry.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return values


async def test_a_cascade_is_one_tree_with_each_attempt_billed_once(rig, ask):
    rig.engine.scripts["small"] = [Script(["maybe"], logprob=-2.0)]
    ctx = rig.context(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    call = ask("assistant", "a question that stays private", stream=True, sampling=Sampling(temperature=0.5))
    answer = await rig.pipeline.generate(ctx, call)
    async for _ in answer.chunks():
        pass
    made = resource_spans([Record(ctx, 200, ctx.wall_ns(), "")])
    assert {entry.key: entry.value.string_value for entry in made.resource.attributes}["service.name"] == "gateway"
    root, *steps = made.scope_spans[0].spans
    assert root.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert root.parent_span_id.hex() == "b7ad6b7169203331"
    assert (root.name, root.kind) == ("chat assistant", root.SPAN_KIND_SERVER)
    told = plain(root)
    assert told[genai.REQUEST_TEMPERATURE] == 0.5 and told[genai.REQUEST_STREAM] is True
    assert told[genai.TENANT] == "dev" and told["http.response.status_code"] == 200
    assert {step.parent_span_id for step in steps} == {root.span_id}
    billed = [plain(step) for step in steps if plain(step).get(genai.BILLED)]
    assert [(b[genai.DEPLOYMENT], b[genai.VERDICT], b[genai.STAGE]) for b in billed] == [
        ("small", "rejected", 0),
        ("large", "accepted", 1),
    ]
    assert sum(b[genai.COST_NANO_USD] for b in billed) == ctx.cost_nano_usd
    assert genai.USAGE_INPUT_TOKENS not in told
    # Calls to other services hang under their step.
    sent = [call.sent.traceparent.split("-")[2] for call in rig.engine.calls]
    assert sent == [step.span_id.hex() for step in steps if step.name.startswith("chat ")]
    (said,) = [name for name, value in told.items() if "private" in str(value)]
    assert said == genai.INPUT_MESSAGES
    assert not [step for step in steps if "private" in str(step)]
    assert json.loads(told[genai.OUTPUT_MESSAGES])[0]["role"] == "assistant"
    assert json.loads(told[genai.OPTIONS])["sampling"] == {"temperature": 0.5}


async def test_a_failed_step_and_its_root_are_marked(rig, ask):
    rig.engine.scripts["small"] = [Script([], error=Upstream("gone"))]
    ctx = rig.context()
    with pytest.raises(Upstream):
        await rig.pipeline.generate(ctx, ask("plain"))
    root, step = resource_spans([Record(ctx, 502, ctx.wall_ns(), "upstream_failed")]).scope_spans[0].spans
    for span in (root, step):
        assert span.status.code == span.status.STATUS_CODE_ERROR
        assert plain(span)[genai.ERROR_TYPE] == "upstream_failed"


async def test_records_wait_for_a_receiver_that_is_away_and_the_oldest_go_first(rig, monkeypatch):
    monkeypatch.setattr("headrace_gateway.observing.export._MOST", 3)
    receiver = FakeReceiver(away=True)
    exporter = SpanExporter(receiver, rig.metrics)
    contexts = [rig.context() for _ in range(5)]
    for ctx in contexts:
        exporter.record(ctx, 200, "")
    with pytest.raises(Upstream):
        await exporter.flush()
    receiver.away = False
    await exporter.flush()
    spans = receiver.requests[0].resource_spans[0].scope_spans[0].spans
    assert [span.trace_id.hex() for span in spans] == [ctx.trace_id for ctx in contexts[2:]]
    assert rig.registry.get_sample_value("headrace_gateway_spans_dropped_total") == 2


async def test_a_request_of_which_no_span_can_be_made_costs_the_others_of_its_batch_nothing(rig):
    receiver = FakeReceiver()
    exporter = SpanExporter(receiver, rig.metrics)
    fine, spoilt, too = (rig.context() for _ in range(3))
    spoilt.attributes["what"] = object()
    for ctx in (fine, spoilt, too):
        exporter.record(ctx, 200, "")
    await exporter.flush()
    spans = receiver.requests[0].resource_spans[0].scope_spans[0].spans
    assert [span.trace_id.hex() for span in spans] == [fine.trace_id, too.trace_id]
    assert rig.registry.get_sample_value("headrace_gateway_spans_dropped_total") == 1


async def test_what_is_not_sampled_or_nobodys_is_not_sent(rig):
    receiver = FakeReceiver()
    exporter = SpanExporter(receiver, rig.metrics)
    exporter.record(rig.context(traced=False), 200, "")
    exporter.record(rig.context(tenant=""), 401, "invalid_api_key")
    await exporter.flush()
    assert receiver.requests == []


async def test_a_grounded_request_tells_its_words_and_its_passages_apart(rig, ask):
    rig.retriever.passages["handbook"] = [Passage(collection="handbook", document_id="d", text="It is a channel.")]
    rig.engine.scripts["small"] = [Script(["so [1]"])]
    ctx = rig.context()
    answer = await rig.pipeline.generate(ctx, ask("grounded", "What is it?"))
    await answer.whole()
    root = plain(resource_spans([Record(ctx, 200, ctx.wall_ns(), "")]).scope_spans[0].spans[0])
    messages = json.loads(root[genai.INPUT_MESSAGES])
    assert messages == [{"role": "user", "parts": [{"type": "text", "content": "What is it?"}]}]
    (passage,) = json.loads(root[genai.PASSAGES])
    assert (passage["number"], passage["text"]) == (1, "It is a channel.")
    assert json.loads(root[genai.OUTPUT_MESSAGES])[0]["parts"][0]["content"] == "so [1]"
    assert root[genai.GROUNDEDNESS] == ctx.outcome.grounding.score


async def test_of_a_huge_request_the_last_words_are_kept(rig, ask):
    ctx = rig.context()
    call = ask("plain", "x" * MOST_CHARS)
    call.messages.append(Message(role="user", parts=[ContentPart(text="and this?")]))
    await (await rig.pipeline.generate(ctx, call)).whole()
    first, last = json.loads(attributes(ctx.content)[genai.INPUT_MESSAGES])
    assert last["parts"][0]["content"] == "and this?"
    assert len(first["parts"][0]["content"]) < MOST_CHARS


async def test_heavy_records_wait_within_bounds_and_go_in_smaller_batches(rig, ask, monkeypatch):
    monkeypatch.setattr("headrace_gateway.observing.export._MOST_CHARS", 3500)
    monkeypatch.setattr("headrace_gateway.observing.export._BATCH_CHARS", 1500)
    receiver = FakeReceiver()
    exporter = SpanExporter(receiver, rig.metrics)
    for _ in range(5):
        ctx = rig.context()
        await (await rig.pipeline.generate(ctx, ask("plain", "x" * 1000))).whole()
        exporter.record(ctx, 200, "")
    assert rig.registry.get_sample_value("headrace_gateway_spans_dropped_total") == 2
    await exporter.flush()
    assert len(receiver.requests) == 2
