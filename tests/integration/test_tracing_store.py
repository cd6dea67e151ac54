"""Spans from the OpenTelemetry SDK's own exporter, through the tracing service, into PostgreSQL, and back."""

from __future__ import annotations

import asyncio
import json
import time

import psycopg
import pytest
from grpc import Compression, StatusCode, aio
from msgspec.structs import replace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from headrace_kit.errors import BadInput, Forbidden, NotFound
from headrace_kit.telemetry import genai
from headrace_kit.telemetry.requests import Hop, Request, Said, packed
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message
from headrace_protos.tracing.v1 import messages_pb2, records_pb2, records_pb2_grpc
from headrace_tracing.adapters.codec import of_body
from headrace_tracing.adapters.postgres import PostgresTraceStore
from headrace_tracing.domain.content import Content, Turn
from headrace_tracing.domain.filters import TraceFilter
from headrace_tracing.domain.spans import Feedback, SpanEvent
from headrace_tracing.domain.summaries import summarise
from headrace_tracing.ports import StoreRefused
from tests.integration.tracing_reading import otlp, pool, reader, spans_of, store, who

__all__ = ["otlp", "pool", "reader", "store"]

SERVICES = ("tracing",)
CONFIG = "tenants: {red: {}, blue: {}}\n"

SECRET = "sk-proj-A8f3kLmQ29xVb7TzR4wYc1Ns"
EMAIL = "ana.lopez@example.org"


class Sender:
    """What an instrumented service has: a provider with the standard exporter."""

    def __init__(self, address: str, service: str = "gateway", *, batch: bool = True, compression=None) -> None:
        self.provider = TracerProvider(
            resource=Resource.create({"service.name": service, "service.namespace": "headrace"}), shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint=address, insecure=True, timeout=20, compression=compression)
        processor = BatchSpanProcessor(exporter, schedule_delay_millis=50) if batch else SimpleSpanProcessor(exporter)
        self.provider.add_span_processor(processor)
        self.tracer = self.provider.get_tracer("test")

    def answer(self, tenant: str, *, model: str = "assistant", cost: int = 12_500, **attributes) -> str:
        """A request of three spans; returns its trace id."""
        with self.tracer.start_as_current_span(
            f"chat {model}", attributes={genai.TENANT: tenant, genai.REQUEST_MODEL: model, **attributes}
        ) as root:
            for billed in (False, True):
                with self.tracer.start_as_current_span(
                    "attempt",
                    attributes={
                        genai.TENANT: tenant,
                        genai.BILLED: billed,
                        genai.USAGE_INPUT_TOKENS: 100,
                        genai.USAGE_OUTPUT_TOKENS: 7,
                        genai.COST_NANO_USD: cost,
                    },
                ):
                    pass
        return f"{root.get_span_context().trace_id:032x}"

    async def close(self) -> None:
        await asyncio.to_thread(self.provider.shutdown)


async def test_a_trace_comes_back_whole_and_counts_what_was_billed_once(otlp, reader):
    sender = Sender(otlp, compression=Compression.Gzip)
    trace_id = sender.answer("red", list=["a", "b"], n=7)
    await sender.close()
    trace = await reader.until(trace_id, "red", 3)
    assert [span.name for span in trace.spans] == ["chat assistant", "attempt", "attempt"]
    assert {span.parent_span_id for span in trace.spans[1:]} == {trace.spans[0].span_id}
    assert (trace.tenant, trace.input_tokens, trace.output_tokens, trace.cost_usd) == ("red", 100, 7, "0.0000125")
    assert trace.spans[0].service == "gateway"
    assert list(trace.spans[0].attributes["list"]) == ["a", "b"]
    assert trace.spans[0].attributes["n"] == 7


async def test_a_record_of_the_gateway_is_a_trace_with_its_words(otlp, reader):
    billed = {genai.BILLED: True, genai.DEPLOYMENT: "small", genai.USAGE_INPUT_TOKENS: 9, genai.COST_NANO_USD: 500}
    asked = Message(role="user", parts=[ContentPart(text=f"write to {EMAIL}, the key is {SECRET}")])
    record = Request(
        request_id="r",
        trace_id=f"{5001:032x}",
        span_id=f"{5001:016x}",
        parent_span_id="",
        started_ns=10**18,
        ended_ns=10**18 + 5_000_000,
        tenant="red",
        operation="chat",
        model="assistant",
        hops=[Hop("chat small", f"{5002:016x}", 10**18 + 1, 10**18 + 2, billed)],
        said=Said([asked.SerializeToString()], texts={0: "I will"}),
    )
    async with aio.insecure_channel(otlp) as channel:
        take = records_pb2_grpc.RecordServiceStub(channel).TakeRecords
        batch = records_pb2.TakeRecordsRequest(records=[b"no record", packed(record), packed(record)])
        assert (await take(batch)).rejected == 1
    trace = await reader.until(record.trace_id, "red", 2)
    assert [(span.name, span.kind, span.service) for span in trace.spans] == [
        ("chat assistant", "server", "gateway"),
        ("chat small", "client", "gateway"),
    ]
    assert (trace.input_tokens, trace.cost_usd, trace.summary.model) == (9, "0.0000005", "assistant")
    [turn] = trace.content.input
    assert turn.text.startswith("write to [EMAIL_") and EMAIL not in str(trace) and SECRET not in str(trace)
    assert [turn.text for turn in trace.content.output] == ["I will"]


async def test_a_span_sent_twice_counts_once(otlp, reader):
    sender = Sender(otlp, batch=False)
    trace_id = sender.answer("red")
    first = await reader.until(trace_id, "red", 3)
    ids = [bytes.fromhex(span.span_id) for span in first.spans]
    async with aio.insecure_channel(otlp) as channel:
        request = trace_service_pb2.ExportTraceServiceRequest()
        spans = request.resource_spans.add().scope_spans.add().spans
        for span_id in ids:
            span = spans.add(trace_id=bytes.fromhex(trace_id), span_id=span_id, name="again", start_time_unix_nano=1)
            for key, value in ((genai.TENANT, "red"), (genai.BILLED, True), (genai.USAGE_INPUT_TOKENS, 1)):
                pair = span.attributes.add(key=key)
                setattr(pair.value, {str: "string_value", bool: "bool_value", int: "int_value"}[type(value)], value)
        await trace_service_pb2_grpc.TraceServiceStub(channel).Export(request)
    again = await reader.trace(trace_id, "red")
    assert again == first
    await sender.close()


async def test_tenants_do_not_see_each_other(otlp, reader):
    sender = Sender(otlp)
    red, blue = sender.answer("red"), sender.answer("blue")
    await sender.close()
    await reader.until(red, "red", 3)
    await reader.until(blue, "blue", 3)
    with pytest.raises(NotFound):
        await reader.trace(red, "blue")
    with pytest.raises(Forbidden):
        await reader.trace(red, "")
    assert (await reader.trace(red, "", "admin")).tenant == "red"
    listed = {trace.trace_id for trace in (await reader.traces("blue", limit=1000)).traces}
    assert blue in listed and red not in listed
    everything = {trace.trace_id for trace in (await reader.traces("", "admin", limit=1000)).traces}
    assert {red, blue} <= everything


async def test_lists_are_filtered_and_paged(otlp, reader):
    sender = Sender(otlp)
    sent = [sender.answer("blue", model="paged") for _ in range(7)]
    await sender.close()
    for trace_id in sent:
        await reader.until(trace_id, "blue", 3)
    seen, token = [], ""
    while True:
        page = await reader.traces("blue", limit=3, model="paged", page_token=token)
        seen += [trace.trace_id for trace in page.traces]
        token = page.next_page_token
        if not token:
            break
    assert seen == list(reversed(sent))
    assert not (await reader.traces("blue", model="paged", status="error")).traces
    with pytest.raises(BadInput) as caught:
        await reader.traces("blue", page_token="made-up")
    assert caught.value.param == "page_token"
    with pytest.raises(BadInput) as caught:
        await reader.traces("blue", limit=1001)
    assert caught.value.param == "limit"


async def test_nothing_secret_is_in_the_database(part, otlp, reader):
    sender = Sender(otlp)
    with sender.tracer.start_as_current_span(
        f"ask {EMAIL}",
        attributes={
            genai.TENANT: "red",
            "note": f"mail {EMAIL} with {SECRET}",
            "http.request.header.authorization": "letmein",
            "listed": ["fine", EMAIL],
        },
    ) as span:
        span.add_event("exception", {"exception.message": f"bad key {SECRET}"})
        trace_id = f"{span.get_span_context().trace_id:032x}"
    await sender.close()
    await reader.until(trace_id, "red", 1)
    async with await psycopg.AsyncConnection.connect(part.dsn) as connection:
        rows = await connection.execute(
            "SELECT row_to_json(t) FROM tracing.traces t WHERE trace_id = %s", (bytes.fromhex(trace_id),)
        )
        stored = json.dumps(await rows.fetchall())
        rows = await connection.execute(
            "SELECT body FROM tracing.day_spans WHERE trace_id = %s", (bytes.fromhex(trace_id),)
        )
        stored += str([of_body(body) for (body,) in await rows.fetchall()])
    assert "fine" in stored
    for planted in (EMAIL, SECRET, "letmein"):
        assert planted not in stored


async def test_feedback_belongs_to_the_trace(otlp, reader):
    sender = Sender(otlp)
    trace_id = sender.answer("red")
    await sender.close()
    trace = await reader.until(trace_id, "red", 3)
    given = messages_pb2.AddFeedbackRequest(
        trace_id=trace_id, span_id=trace.spans[0].span_id, score=-1, label="wrong", comment=f"write to {EMAIL}"
    )
    added = await reader.peer.unary(reader.stub.AddFeedback, given, who("red"))
    assert EMAIL not in added.comment
    assert list((await reader.trace(trace_id, "red")).feedback) == [added]
    with pytest.raises(NotFound):
        await reader.peer.unary(reader.stub.AddFeedback, given, who("blue"))
    given.span_id = "00000000000000aa"
    with pytest.raises(NotFound):
        await reader.peer.unary(reader.stub.AddFeedback, given, who("red"))
    with pytest.raises(BadInput) as caught:
        await reader.trace("xyz", "red")
    assert caught.value.param == "trace_id"


async def test_bad_exports_are_told_so(otlp):
    async with aio.insecure_channel(otlp) as channel:
        raw = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        with pytest.raises(aio.AioRpcError) as caught:
            await raw(b"\xff\xff not protobuf")
        assert caught.value.code() is StatusCode.INVALID_ARGUMENT
        request = trace_service_pb2.ExportTraceServiceRequest()
        spans = request.resource_spans.add().scope_spans.add().spans
        spans.add(trace_id=b"short", span_id=b"12345678", start_time_unix_nano=1)
        spans.add(trace_id=b"1" * 16, span_id=b"12345678", name="a\0b", start_time_unix_nano=1)
        answer = await trace_service_pb2_grpc.TraceServiceStub(channel).Export(request)
        assert answer.partial_success.rejected_spans == 1
        assert "bad trace id" in answer.partial_success.error_message


async def test_writers_side_by_side_count_each_span_once(store):
    traces = [spans_of(trace) for trace in range(1, 21)]
    batches = [[span for spans in order for span in spans] for order in (traces, list(reversed(traces)))]
    new = await asyncio.gather(*(store.write(batch) for batch in batches * 4))
    assert sum(new) == 60
    for trace in range(1, 21):
        (summary,) = await store.summaries(f"{trace:032x}")
        assert (summary.spans, summary.usage.cost_nano_usd, summary.name, summary.model) == (3, 3, "span 1", "stored")


async def test_the_database_merges_as_the_domain_does(store):
    spans = [
        replace(span, start_ns=start, end_ns=end, status=status, attributes={**span.attributes, **model})
        for span, start, end, status, model in zip(
            spans_of(77, count=4),
            (40, 20, 30, 10),
            (41, 99, 31, 11),
            ("ok", "error", "ok", "unset"),
            ({}, {}, {}, {genai.REQUEST_MODEL: ""}),
            strict=True,
        )
    ]
    for span in spans:
        await store.write([span])
    assert await store.summaries(spans[0].trace_id) == summarise(spans)


async def test_spans_come_back_as_they_went_in_and_a_bad_one_is_refused(store):
    odd = replace(
        spans_of(78, count=1)[0],
        tenant="",
        attributes={"n": -(2**63), "x": 0.1, "yes": True, "none": None, "deep": {"list": [1, "é", "\U0001f600"]}},
        events=(SpanEvent("first", 7, {"a": 1}),),
        status="error",
        status_message="why",
        parent_span_id="00000000000000ff",
    )
    assert await store.write([odd, odd]) == 1
    assert await store.spans(odd.trace_id, None, 10) == [odd]
    assert await store.spans(odd.trace_id, "red", 10) == [odd], "for the domain to find whose it is"
    assert await store.spans(odd.trace_id, None, 0) == []
    with pytest.raises(StoreRefused):
        await store.write([replace(odd, span_id="00000000000000aa", name="nul \0")])


async def test_lists_show_a_trace_once_per_tenant_and_nameless_parts_not_at_all(store):
    await store.write(
        [
            *spans_of(79, "red", 1, "parts"),
            *(replace(span, span_id="0" * 15 + "b", tenant="") for span in spans_of(79, "", 1, "parts")),
            *spans_of(80, "", 1, "parts"),
        ]
    )
    found = await store.traces(TraceFilter(model="parts"), 10)
    assert [(int(summary.trace_id, 16), summary.tenant) for summary in found] == [(80, ""), (79, "red")]
    assert len(await store.traces(TraceFilter(tenant="red", model="parts"), 10)) == 1


async def test_old_days_go_with_all_that_belongs_to_them(pool):
    now = 30 * 86_400.0
    store = PostgresTraceStore(pool, lambda: now)
    old, young = spans_of(90), spans_of(91)
    await store.write(old)
    await store.add_feedback(Feedback("0198c0a1-4155-7123-8555-012345678901", old[0].trace_id, "red", "", 1, "", "", 1))
    now += 86_400
    await store.write([*young, *(replace(span, span_id=f"{9:015x}{span.span_id[-1]}") for span in old)])
    assert len(await store.spans(old[0].trace_id, None, 100)) == 6, "late spans belong to the day of their trace"
    assert await store.drop_days_before(30, sealed_before=30) == 0
    assert await store.drop_days_before(31, sealed_before=31) == 1
    assert await store.summaries(old[0].trace_id) == []
    assert await store.spans(old[0].trace_id, None, 100) == []
    assert await store.feedback(old[0].trace_id) == []
    assert len(await store.spans(young[0].trace_id, None, 100)) == 3
    await store.write(spans_of(92))
    assert await store.drop_days_before(33, sealed_before=33) == 2


async def test_a_trace_that_two_tenants_began_on_two_days_is_read_from_both(pool):
    now = 40 * 86_400.0
    store = PostgresTraceStore(pool, lambda: now)
    red = spans_of(0x9001, "red", 2)
    await store.write(red)
    now += 86_400
    blue = [replace(span, span_id=f"{8:015x}{at}", start_ns=at, tenant="blue") for at, span in enumerate(red)]
    await store.write(blue)
    ordered = sorted([*red, *blue], key=lambda span: (span.start_ns, span.span_id))
    assert await store.spans(red[0].trace_id, None, 10) == ordered
    assert await store.spans(red[0].trace_id, None, 3) == ordered[:3]
    assert await store.spans(red[0].trace_id, "blue", 10) == blue
    while await store.drop_days_before(42, sealed_before=42):
        pass


async def test_spans_sent_while_the_database_is_killed_are_there_when_it_is_back(part, otlp, reader):
    sender = Sender(otlp)
    sent = [sender.answer("red")]
    part.platform.stop_unit("postgres")
    sent += [sender.answer("red") for _ in range(20)]
    await asyncio.to_thread(sender.provider.force_flush)
    part.platform.start_unit("postgres")
    part.platform.wait_ready("postgres")
    sent.append(sender.answer("red"))
    part.platform.kill("postgres")
    sent += [sender.answer("red") for _ in range(20)]
    await sender.close()
    for trace_id in sent:
        trace = await reader.until(trace_id, "red", 3)
        assert trace.cost_usd == "0.0000125", "each span was counted once"


async def test_what_was_acknowledged_survives_the_death_of_the_service(part, otlp, reader):
    sender = Sender(otlp)
    sent = [sender.answer("blue") for _ in range(50)]
    assert await asyncio.to_thread(sender.provider.force_flush)
    restarts = part.platform.status().units["tracing"].restarts
    part.platform.kill("tracing")
    part.platform.wait_ready("tracing", restarts=restarts + 1)
    for trace_id in sent:
        await reader.until(trace_id, "blue", 3)
    await sender.close()


async def test_the_service_tells_of_answers_whose_question_was_asked_again(part, store, reader):
    first, second = (spans_of(trace, "red", 1)[0] for trace in (0xB001, 0xB002))
    attributes = {genai.REQUEST_MODEL: "assistant", genai.CONVERSATION_ID: "talk"}
    content = Content((Turn("user", "How many days of leave do I have?"),))
    asked = [
        replace(span, start_ns=at, end_ns=at + 10**9, attributes=attributes, content=content)
        for span, at in ((first, time.time_ns() - 200 * 10**9), (second, time.time_ns() - 100 * 10**9))
    ]
    await store.write(asked)
    restarts = part.platform.status().units["tracing"].restarts
    part.platform.kill("tracing")  # it looks when it starts, and then each half minute
    part.platform.wait_ready("tracing", restarts=restarts + 1)
    async with asyncio.timeout(60):
        while not (told := await reader.trace(first.trace_id, "red")).feedback:
            await asyncio.sleep(0.1)
    assert [(said.label, said.source) for said in told.feedback] == [("retried", "implicit")]
    assert not (await reader.trace(second.trace_id, "red")).feedback
