"""Spans from the OpenTelemetry SDK's own exporter, through the tracing service, into PostgreSQL, and back."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace

import psycopg
import pytest
import uuid_utils
from grpc import Compression, StatusCode, aio
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from headrace_kit.errors import BadInput, Forbidden, NotFound, NotReady
from headrace_kit.rpc import Identity, Outbound
from headrace_kit.stores.postgres import Postgres
from headrace_kit.telemetry import genai
from headrace_protos.tracing.v1 import messages_pb2, service_pb2_grpc
from headrace_tracing.adapters.codec import of_body
from headrace_tracing.adapters.postgres import PostgresTraceStore
from headrace_tracing.domain.content import Content, PassageSeen, Turn
from headrace_tracing.domain.filters import TraceFilter
from headrace_tracing.domain.measures import DIMENSIONS
from headrace_tracing.domain.spans import Feedback, Span, SpanEvent
from headrace_tracing.domain.summaries import summarise
from headrace_tracing.ports import Position, StoreRefused

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


@pytest.fixture
async def store(part):
    pool = Postgres(part.dsn, "tracing")
    await pool.open()
    yield PostgresTraceStore(pool)
    await pool.close()


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


async def test_old_days_go_with_all_that_belongs_to_them(part):
    pool = Postgres(part.dsn, "tracing")
    await pool.open()
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
    await pool.close()


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


MINUTE_NS = 60 * 10**9


def answered(number: int, *, tenant: str = "asked", content: Content | None = None, **attributes) -> list[Span]:
    """A request of a gateway's two spans, at its minute."""
    start = 1_700_000_000 * 10**9 + number * MINUTE_NS
    facts = {
        genai.REQUEST_MODEL: "assistant",
        genai.DEPLOYMENT: "small",
        genai.ARM: "baseline",
        genai.CACHE: "miss",
        genai.RESPONSE_TIME_TO_FIRST_CHUNK: 0.1,
        **attributes,
    }
    root = replace(
        spans_of(5000 + number, tenant, 1)[0],
        name="chat assistant",
        start_ns=start,
        end_ns=start + (number + 1) * 10**9,
        attributes={name: value for name, value in facts.items() if not name.startswith("_")},
        status="error" if attributes.get("_failed") else "ok",
        content=content,
        sealed=b"sealed" if content else b"",
    )
    attempt = replace(
        root,
        span_id="00000000000000bb",
        parent_span_id=root.span_id,
        name="attempt",
        content=None,
        sealed=b"",
        attributes={
            genai.BILLED: True,
            genai.STAGE: attributes.get("_stage", 0),
            genai.USAGE_OUTPUT_TOKENS: 11,
            genai.COST_NANO_USD: 1000 * (number + 1),
        },
    )
    return [root, attempt]


@pytest.fixture
async def asked(store):
    """Seven requests of one tenant, each different in something."""
    said = Content(
        input=(Turn("user", "Where is the headrace?"),),
        output=(Turn("assistant", "Above the turbine [1]."),),
        passages=(PassageSeen(1, "handbook", "d1", "c1", "Water", "A headrace is a channel.", 0.5, 0, 10),),
    )
    await store.write(
        [
            *answered(0, content=said, **{genai.CONVERSATION_ID: "talk", genai.USER: "digest"}),
            *answered(1, **{genai.CONVERSATION_ID: "talk", genai.DEPLOYMENT: "large", "_stage": 1}),
            *answered(2, _failed=True, **{genai.ERROR_TYPE: "upstream_failed"}),
            *answered(3, **{genai.CACHE: "hit"}),
            *answered(4, **{genai.FINDINGS: ["input:pii.email:mask:2", "output:secrets.openai_key:block:1"]}),
            *answered(5, **{genai.ARM: "candidate", genai.COLLECTIONS: ["handbook"]}),
            *answered(6, **{genai.REQUEST_MODEL: "other", genai.KEY_ID: "key-7"}),
            *answered(6, tenant="elsewhere"),
        ]
    )
    if not await store.feedback(f"{5003:032x}"):
        for number, score in ((3, 1.0), (3, 0.0), (5, -1.0)):
            id_ = str(uuid_utils.uuid7())
            await store.add_feedback(
                Feedback(id_, f"{5000 + number:032x}", "asked", "", score, "wrong" if score < 0 else "", "", 1)
            )
    return store


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, [6, 5, 4, 3, 2, 1, 0]),
        ({"model": "other"}, [6]),
        ({"deployment": "large"}, [1]),
        ({"arm": "candidate"}, [5]),
        ({"status": "error"}, [2]),
        ({"error": "upstream_failed"}, [2]),
        ({"cache": "hit"}, [3]),
        ({"session": "talk"}, [1, 0]),
        ({"user": "digest"}, [0]),
        ({"collection": "handbook"}, [5]),
        ({"key_id": "key-7"}, [6]),
        ({"service": "gateway", "status": "error"}, [2]),
        ({"service": "nobody"}, []),
        ({"min_duration_ns": 6 * 10**9}, [6, 5]),
        ({"max_duration_ns": 10**9}, [0]),
        ({"min_cost_nano_usd": 2000, "max_cost_nano_usd": 3000}, [2, 1]),
        ({"min_feedback": 0.5}, [3]),
        ({"max_feedback": 0.0}, [5]),
        ({"label": "wrong"}, [5]),
        ({"escalated": True}, [1]),
        ({"guard_finding": "any"}, [4]),
        ({"guard_finding": "pii"}, [4]),
        ({"guard_finding": "pii.email"}, [4]),
        ({"guard_finding": "output:pii.email"}, []),
        ({"guard_finding": "input:pii.email:mask"}, [4]),
        ({"guard_finding": "p%"}, []),
        ({"text": "headrace turbine"}, [0]),
        ({"text": '"a channel"'}, [0]),
        ({"text": "channel -turbine"}, []),
        ({"text": "'); DROP TABLE tracing.traces; --"}, []),
        ({"model": "' OR 1=1 --"}, []),
        ({"from_ns": 1_700_000_000 * 10**9 + 5 * MINUTE_NS}, [6, 5]),
        ({"to_ns": 1_700_000_000 * 10**9 + MINUTE_NS}, [0]),
    ],
)
async def test_each_filter_finds_what_it_says(asked, fields, found):
    listed = await asked.traces(TraceFilter(tenant="asked", **fields), 100)
    assert [int(summary.trace_id, 16) - 5000 for summary in listed] == found


async def test_content_comes_back_and_a_summary_has_it_all(asked):
    trace_id = f"{5000:032x}"
    root, attempt = await asked.spans(trace_id, "asked", 10)
    assert root.content.output[0].text == "Above the turbine [1]." and root.sealed == b"sealed"
    assert attempt.content is None
    (summary,) = await asked.summaries(trace_id)
    assert (summary.facts.question, summary.capture, summary.session) == ("Where is the headrace?", 2, "talk")
    (rated,) = await asked.summaries(f"{5003:032x}")
    assert (rated.said.mean, rated.said.count) == (0.5, 2)


async def test_sessions_sum_their_traces_and_are_paged(asked):
    (talk,) = await asked.sessions(TraceFilter(tenant="asked"), 10)
    assert (talk.session, talk.traces, talk.cost_nano_usd, talk.output_tokens) == ("talk", 2, 3000, 22)
    assert (talk.question, talk.models) == ("Where is the headrace?", ("assistant",))
    after = Position(talk.last_start_ns, talk.session, talk.tenant)
    assert await asked.sessions(TraceFilter(tenant="asked"), 10, after) == []


async def test_sums_by_dimension_and_time(asked):
    everything = TraceFilter(tenant="asked")
    (total,) = await asked.measure(everything)
    assert (total.requests, total.errors, total.cost_nano_usd, total.output_tokens) == (7, 1, 28_000, 77)
    assert (total.cache_hits, total.cache_lookups, total.escalated, total.asked, total.flagged) == (1, 7, 1, 7, 1)
    assert (total.duration.p50, total.ttft.p50, total.said) == (4000, 100, 3)
    assert total.tpot.p50 == pytest.approx(390)
    assert total.feedback.mean == pytest.approx(-0.25), "the mean of the traces' means"
    by_arm = await asked.measure(everything, ("arm", "status"), limit=10)
    assert [(row.group, row.requests) for row in by_arm] == [
        ({"arm": "baseline", "status": "ok"}, 5),
        *[(row.group, 1) for row in by_arm[1:]],
    ]
    by_time = await asked.measure(everything, (), 120, 10)
    assert [row.requests for row in by_time] == [1, 2, 2, 2] or [row.requests for row in by_time] == [2, 2, 2, 1]
    assert all(row.time_ns % (120 * 10**9) == 0 for row in by_time)
    assert len(await asked.measure(everything, tuple(DIMENSIONS[:4]), limit=100)) > 3
    for dimension in DIMENSIONS:
        assert sum(row.requests for row in await asked.measure(everything, (dimension,), limit=100)) == 7


async def test_the_api_lists_sums_and_compares(asked, reader):
    stub, peer = reader.stub, reader.peer
    wanted = messages_pb2.TraceFilter(model="assistant")
    getattr(wanted, "from").FromSeconds(1_700_000_000)
    wanted.to.FromSeconds(1_700_010_000)
    sessions = await peer.unary(stub.ListSessions, messages_pb2.ListSessionsRequest(filter=wanted), who("asked"))
    assert [session.session for session in sessions.sessions] == ["talk"]
    request = messages_pb2.AggregateRequest(filter=wanted, group_by=["deployment"])
    sums = await peer.unary(stub.Aggregate, request, who("asked"))
    assert {row.group["deployment"]: row.measures.requests for row in sums.rows} == {"small": 5, "large": 1}
    request = messages_pb2.CompareRequest(
        filter=wanted, a=messages_pb2.TraceFilter(arm="baseline"), b=messages_pb2.TraceFilter(arm="candidate")
    )
    compared = await peer.unary(stub.Compare, request, who("asked"))
    assert (compared.a.requests, compared.b.requests) == (5, 1)
    errors = next(one for one in compared.differences if one.measure == "error_rate")
    assert (errors.a, errors.b, errors.HasField("p_value")) == (0.2, 0.0, False)
    trace = await reader.trace(f"{5000:032x}", "asked")
    assert trace.content.passages[0].cited and trace.content.capture == "redacted"
    assert [decision.stage for decision in trace.decisions] == [0]
    assert [(span.depth, span.self_ms) for span in trace.spans] == [(0, 0), (1, 1000)]
    findings = (await reader.trace(f"{5004:032x}", "asked")).findings
    assert [(one.direction, one.kind, one.action, one.count) for one in findings] == [
        ("input", "email", "mask", 2),
        ("output", "openai_key", "block", 1),
    ]
    with pytest.raises(Forbidden):
        await peer.unary(stub.GetTrace, messages_pb2.GetTraceRequest(trace_id=f"{5000:032x}", full=True), who("asked"))
    with pytest.raises(BadInput) as caught:
        bad = messages_pb2.ListTracesRequest(filter=messages_pb2.TraceFilter(min_cost_usd="much"))
        await peer.unary(stub.ListTraces, bad, who("asked"))
    assert caught.value.param == "min_cost_usd"
