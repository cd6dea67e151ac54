"""Records of requests, and their way out. `tests/contract/test_request_spans.py` has the spans that become of them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from headrace_gateway.adapters.receivers import OtlpReceiver, TracingReceiver
from headrace_gateway.context import Hop
from headrace_gateway.fakes import FakeReceiver
from headrace_gateway.observing.content import MOST_CHARS
from headrace_gateway.observing.export import Exporter
from headrace_gateway.observing.records import HERE, Ended, record_of
from headrace_gateway.outcome import Citation, Span
from headrace_kit.errors import Upstream
from headrace_kit.telemetry.requests import unpacked
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message, Sampling
from headrace_protos.tracing.v1 import records_pb2, records_pb2_grpc


def dropped(rig) -> float:
    return rig.registry.get_sample_value("headrace_gateway_spans_dropped_total")


def handed_over(receiver) -> list[str]:
    return [unpacked(raw).trace_id for batch in receiver.batches for raw in batch]


async def test_a_request_is_one_record_of_what_it_did_and_said(rig, ask):
    receiver = FakeReceiver()
    exporter = Exporter(receiver, rig.metrics)
    ctx = rig.context()
    answer = await rig.pipeline.generate(ctx, ask("plain", "hello", sampling=Sampling(temperature=0.5)))
    [given], _ = await answer.whole()
    exporter.record(ctx, 200, "")
    await exporter.flush()
    [[raw]] = receiver.batches
    record = unpacked(raw)
    assert (record.trace_id, record.span_id, record.request_id) == (ctx.trace_id, ctx.span_id, ctx.request_id)
    assert (record.tenant, record.model, record.deployment, record.status) == ("dev", "plain", "small", 200)
    assert [hop.name for hop in record.hops] == [hop.name for hop in ctx.hops] and record.hops[-1].ended_ns
    assert Message.FromString(record.said.messages[0]).parts[0].text == "hello"
    assert record.said.texts == {0: given.text}
    assert Sampling.FromString(record.said.sampling).temperature == 0.5


async def test_records_wait_for_a_receiver_that_is_away_and_the_oldest_go_first(rig, monkeypatch):
    monkeypatch.setattr("headrace_gateway.observing.export._MOST", 3)
    receiver = FakeReceiver(away=True)
    exporter = Exporter(receiver, rig.metrics)
    contexts = [rig.context() for _ in range(5)]
    for ctx in contexts:
        exporter.record(ctx, 200, "")
    with pytest.raises(Upstream):
        await exporter.flush()
    receiver.away = False
    await exporter.flush()
    assert handed_over(receiver) == [ctx.trace_id for ctx in contexts[2:]]
    assert dropped(rig) == 2


@pytest.mark.parametrize("value", [object(), 2**70, "\ud800"])
async def test_a_request_that_cannot_be_recorded_costs_the_others_of_its_batch_nothing(rig, value):
    receiver = FakeReceiver()
    exporter = Exporter(receiver, rig.metrics)
    fine, spoilt, too = (rig.context() for _ in range(3))
    spoilt.attributes["what"] = value
    for ctx in (fine, spoilt, too):
        exporter.record(ctx, 200, "")
    await exporter.flush()
    assert handed_over(receiver) == [fine.trace_id, too.trace_id]
    assert dropped(rig) == 1


async def test_a_batch_of_which_nothing_can_be_recorded_holds_up_nothing(rig):
    receiver = FakeReceiver()
    exporter = Exporter(receiver, rig.metrics)
    ctx = rig.context()
    ctx.hops.append(Hop("x", "y", object()))
    exporter.record(ctx, 200, "")
    await exporter.flush()
    assert receiver.batches == [] and dropped(rig) == 1


async def test_records_that_are_no_use_to_the_receiver_are_counted_and_not_sent_again(rig):
    receiver = FakeReceiver(unusable=1)
    exporter = Exporter(receiver, rig.metrics)
    for _ in range(3):
        exporter.record(rig.context(), 200, "")
    await exporter.flush()
    await exporter.flush()
    assert len(receiver.batches) == 1 and dropped(rig) == 1


async def test_it_ends_also_when_a_call_swallows_that_it_was_cancelled(rig, monkeypatch):
    monkeypatch.setattr("headrace_gateway.observing.export._EVERY_S", 0)
    called = asyncio.Event()

    class Deaf(FakeReceiver):
        async def take(self, records):
            if called.is_set():
                return await super().take(records)
            called.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise Upstream("it went away in the same moment") from None

    receiver = Deaf()
    exporter = Exporter(receiver, rig.metrics)
    exporter.start()
    ctx = rig.context()
    exporter.record(ctx, 200, "")
    await called.wait()
    async with asyncio.timeout(30):
        await exporter.stop()
    assert handed_over(receiver) == [ctx.trace_id]


async def test_what_is_not_sampled_or_nobodys_is_not_sent(rig):
    receiver = FakeReceiver()
    exporter = Exporter(receiver, rig.metrics)
    exporter.record(rig.context(traced=False), 200, "")
    exporter.record(rig.context(tenant=""), 401, "invalid_api_key")
    await exporter.flush()
    assert receiver.batches == []


async def test_heavy_records_wait_within_bounds_and_go_in_smaller_batches(rig, ask, monkeypatch):
    monkeypatch.setattr("headrace_gateway.observing.export._MOST_BYTES", 6000)
    monkeypatch.setattr("headrace_gateway.observing.export._BATCH_BYTES", 2500)
    receiver = FakeReceiver()
    exporter = Exporter(receiver, rig.metrics)
    for _ in range(5):
        ctx = rig.context()
        await (await rig.pipeline.generate(ctx, ask("plain", "x" * 1000))).whole()
        exporter.record(ctx, 200, "")
    await exporter.flush()
    assert dropped(rig) == 2
    assert [len(batch) for batch in receiver.batches] == [2, 1]


async def test_of_a_huge_request_the_last_words_are_kept(rig, ask):
    ctx = rig.context()
    call = ask("plain", "x" * MOST_CHARS)
    call.messages.append(Message(role="user", parts=[ContentPart(text="and this?")]))
    await (await rig.pipeline.generate(ctx, call)).whole()
    first, last = map(Message.FromString, ctx.content.said().messages)
    assert last.parts[0].text == "and this?"
    assert len(first.parts[0].text) < MOST_CHARS


async def test_what_was_sent_goes_beside_what_guardrails_left_where_content_is_kept_in_full(rig, ask):
    for tenant, kept in (("dev", []), ("whole", ["write to ann@example.com"])):
        ctx = rig.context(tenant)
        await (await rig.pipeline.generate(ctx, ask("guarded", "write to ann@example.com"))).whole()
        said = ctx.content.said()
        assert "ann@example.com" not in Message.FromString(said.messages[-1]).parts[0].text
        assert [Message.FromString(raw).parts[0].text for raw in said.sent] == kept
    ctx = rig.context("whole")
    await (await rig.pipeline.generate(ctx, ask("guarded", "hello"))).whole()
    assert not ctx.content.said().sent, "the guardrails changed nothing"


async def test_what_the_answer_cites_is_quoted_by_passage(rig, ask):
    ctx = rig.context()
    await (await rig.pipeline.generate(ctx, ask("plain", "hello"))).whole()
    cites = [
        Citation(n, "handbook", "a", "c", Span(0, len(quote)), quote, 0.5) for n, quote in ((1, "It is."), (2, "So."))
    ]
    cites.append(Citation(1, "handbook", "a", "c", Span(0, MOST_CHARS), "x" * MOST_CHARS, 0.5))
    ctx.outcome.citations = [*cites, Citation(1, "handbook", "a", "c", Span(9, 14), "Also.", 0.5)]
    assert record_of(Ended(ctx, 200, 1, ""), HERE).said.quotes == {1: ["It is.", "Also."], 2: ["So."]}


async def test_of_a_record_that_is_too_large_the_words_are_left_out(rig, ask, monkeypatch):
    monkeypatch.setattr("headrace_gateway.observing.export._MOST_OF_ONE", 5000)
    receiver = FakeReceiver()
    exporter = Exporter(receiver, rig.metrics)
    wordy, absurd = rig.context(), rig.context()
    await (await rig.pipeline.generate(wordy, ask("plain", "x" * 10_000))).whole()
    absurd.attributes["what"] = "x" * 10_000
    for ctx in (wordy, absurd):
        exporter.record(ctx, 200, "")
    await exporter.flush()
    [[raw]] = receiver.batches
    record = unpacked(raw)
    assert (record.trace_id, record.said, record.model) == (wordy.trace_id, None, "plain")
    assert dropped(rig) == 1


class Tracing(records_pb2_grpc.RecordServiceServicer):
    """Takes records, and does what the test says."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.fails = grpc.StatusCode.OK

    async def TakeRecords(self, request, context):
        if self.fails is not grpc.StatusCode.OK:
            await context.abort(self.fails)
        self.taken += request.records
        return records_pb2.TakeRecordsResponse(rejected=sum(not raw for raw in request.records))


@asynccontextmanager
async def listening(*add):
    """A server with these servicers; its address."""
    server = aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    for one in add:
        one(server)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def test_tracing_gets_records_and_says_which_are_no_use():
    tracing = Tracing()
    async with listening(lambda server: records_pb2_grpc.add_RecordServiceServicer_to_server(tracing, server)) as at:
        receiver = TracingReceiver(at)
        assert await receiver.take([b"a", b"", b"b"]) == 1
        tracing.fails = grpc.StatusCode.INVALID_ARGUMENT
        assert await receiver.take([b"a", b"b"]) == 2, "it will not like them better the next time"
        for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL):
            tracing.fails = code
            with pytest.raises(Upstream, match=code.name):
                await receiver.take([b"a"])
        await receiver.close()
    assert tracing.taken == [b"a", b"", b"b"]


async def test_records_wait_for_a_tracing_that_does_not_know_them_yet(rig):
    tracing, ctx = Tracing(), rig.context()
    async with listening() as at:
        receiver = TracingReceiver(at)
        exporter = Exporter(receiver, rig.metrics)
        exporter.record(ctx, 200, "")
        with pytest.raises(Upstream, match="UNIMPLEMENTED"):
            await exporter.flush()
        await receiver.close()
    async with listening(lambda server: records_pb2_grpc.add_RecordServiceServicer_to_server(tracing, server)) as at:
        receiver._address, receiver._channel = at, None
        await exporter.flush()
        await receiver.close()
    assert [unpacked(raw).trace_id for raw in tracing.taken] == [ctx.trace_id] and dropped(rig) == 0


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Any OTLP receiver."""

    def __init__(self) -> None:
        self.spans = []
        self.fails = False

    async def Export(self, request, context):
        if self.fails:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT)
        (of_resource,) = request.resource_spans
        self.named = {pair.key: pair.value.string_value for pair in of_resource.resource.attributes}
        self.spans += of_resource.scope_spans[0].spans
        return trace_service_pb2.ExportTraceServiceResponse()


async def test_another_receiver_gets_spans_without_what_was_said(rig, ask):
    collector = Collector()
    add = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    async with listening(lambda server: add(collector, server)) as at:
        receiver = OtlpReceiver(at)
        exporter = Exporter(receiver, rig.metrics)
        ctx = rig.context()
        await (await rig.pipeline.generate(ctx, ask("plain", "my private words"))).whole()
        ctx.attributes["huge"] = 2**64 - 1
        exporter.record(ctx, 200, "")
        await exporter.flush()
        collector.fails = True
        exporter.record(ctx, 200, "")
        await exporter.flush()
        await receiver.close()
    assert dropped(rig) == 1
    assert (collector.named["service.name"], collector.named["service.namespace"]) == ("gateway", "headrace")
    root, *steps = collector.spans
    assert (root.trace_id.hex(), root.span_id.hex()) == (ctx.trace_id, ctx.span_id)
    assert (root.name, root.kind, root.flags) == ("chat plain", root.SPAN_KIND_SERVER, 1)
    assert steps and {step.parent_span_id.hex() for step in steps} == {ctx.span_id}
    assert "private" not in str(collector.spans)
    [huge] = [pair.value.string_value for pair in root.attributes if pair.key == "huge"]
    assert huge == str(2**64 - 1)


async def test_the_exporter_goes_on_by_itself_once_the_receiver_is_back(rig, monkeypatch):
    monkeypatch.setattr("headrace_gateway.observing.export._EVERY_S", 0)
    monkeypatch.setattr("headrace_gateway.observing.export._RETRY_S", 0.001)
    receiver = FakeReceiver(away=True)
    exporter = Exporter(receiver, rig.metrics)
    exporter.start()
    contexts = [rig.context() for _ in range(3)]
    for ctx in contexts:
        exporter.record(ctx, 200, "")
        await asyncio.sleep(0)
    receiver.away = False
    async with asyncio.timeout(30):
        while len(handed_over(receiver)) < 3:
            await asyncio.sleep(0.001)
    await exporter.stop()
    assert sorted(handed_over(receiver)) == sorted(ctx.trace_id for ctx in contexts)
