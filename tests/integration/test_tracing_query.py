"""Traces asked for by what matters: filters, sessions, sums, comparisons."""

from __future__ import annotations

import pytest
import uuid_utils
from msgspec.structs import replace

from headrace_kit.errors import BadInput, Forbidden
from headrace_kit.telemetry import genai
from headrace_protos.tracing.v1 import messages_pb2
from headrace_tracing.domain.content import Content, PassageSeen, Turn
from headrace_tracing.domain.filters import TraceFilter
from headrace_tracing.domain.measures import DIMENSIONS
from headrace_tracing.domain.spans import Feedback, Span
from headrace_tracing.ports import Position
from tests.integration.tracing_reading import pool, reader, spans_of, store, who

__all__ = ["pool", "reader", "store"]

SERVICES = ("tracing",)
CONFIG = "tenants: {red: {}, blue: {}}\n"

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


@pytest.fixture
async def worded(store):
    """Thirty requests of one tenant with words in them, and as many of another."""
    spans = []
    for number in range(30):
        words = ["everywhere", *(["even"] if number % 2 == 0 else []), "old" if number < 6 else "later"]
        words += ["once"] if number == 4 else []
        said = Content(input=(Turn("user", " ".join(words)),), output=(), passages=())
        arm = "candidate" if number == 2 else "baseline"
        spans += answered(2000 + number, tenant="worded", content=said, **{genai.ARM: arm})
        said = Content(input=(Turn("user", "everywhere elsewhere"),), output=(), passages=())
        spans += answered(2100 + number, tenant="other words", content=said)
    await store.write(spans)
    return store


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"text": "everywhere"}, list(range(30))),
        ({"text": "even"}, list(range(0, 30, 2))),
        ({"text": "old"}, [0, 1, 2, 3, 4, 5]),
        ({"text": "later even"}, list(range(6, 30, 2))),
        ({"text": "once"}, [4]),
        ({"text": "elsewhere"}, []),
        ({"text": "nowhere or once or old"}, [0, 1, 2, 3, 4, 5]),
        ({"text": "-even"}, list(range(1, 30, 2))),
        ({"text": "-everywhere"}, []),
        ({"text": "everywhere", "arm": "candidate"}, [2]),
        ({"text": "everywhere", "arm": "nobody"}, []),
        ({"text": '"everywhere old"'}, [1, 3, 5]),
        ({"text": "?!"}, []),
    ],
)
@pytest.mark.parametrize("page", [1, 4, 50])
async def test_words_are_found_whether_many_or_few_have_them(worded, fields, found, page):
    listed, after = [], None
    while True:
        rows = await worded.traces(TraceFilter(tenant="worded", **fields), page, after)
        listed += [int(row.trace_id, 16) - 7000 for row in rows]
        if len(rows) < page:
            break
        after = Position(rows[-1].start_ns, rows[-1].trace_id, rows[-1].tenant)
    assert listed == found[::-1]


async def test_words_are_found_over_all_tenants(worded):
    for text, tenants in (
        ("elsewhere", {"other words"}),
        ("everywhere", {"other words", "worded"}),
        ("once", {"worded"}),
    ):
        assert {row.tenant for row in await worded.traces(TraceFilter(text=text), 50)} == tenants


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
