"""Who sees which traces, pages, and feedback."""

from __future__ import annotations

import base64

import pytest

from headrace_kit.errors import BadInput, Forbidden, NotFound
from headrace_kit.rpc import Identity
from headrace_tracing.domain.filters import TraceFilter
from headrace_tracing.domain.measures import Measured
from headrace_tracing.domain.questions import MOST_SPANS, FeedbackGiven, Page, Questions, Sums

RED, BLUE = Identity("gateway", "red", key_id="k1", user="ana"), Identity("gateway", "blue")
ADMIN = Identity("gateway", "ops", scopes=frozenset({"admin"}))
ONE = f"{1:032x}"
ANY = TraceFilter()


@pytest.fixture
def questions(store, cleaner, vault) -> Questions:
    return Questions(store, cleaner, vault, lambda: 5_000)


async def test_a_tenant_sees_its_own_and_an_admin_everything(questions, store, make_span):
    await store.write([make_span(1), make_span(2, tenant="blue")])
    assert (await questions.trace(ONE, RED)).summary.tenant == "red"
    assert (await questions.trace(ONE.upper(), ADMIN)).summary.tenant == "red"
    with pytest.raises(NotFound):
        await questions.trace(ONE, BLUE)
    assert len((await questions.traces(ANY, Page(), RED))[0]) == 1
    assert len((await questions.traces(ANY, Page(), ADMIN))[0]) == 2
    for ask in (questions.trace(ONE, Identity("gateway")), questions.traces(ANY, Page(), Identity("gateway"))):
        with pytest.raises(Forbidden):
            await ask


async def test_two_tenants_under_one_trace_id_see_their_own_halves(questions, store, make_span):
    mine, theirs = make_span(1, start=5, name="mine"), make_span(1, tenant="blue", start=1, name="theirs")
    await store.write([mine, theirs, make_span(1, tenant="", parent=theirs, name="below theirs")])
    red = await questions.trace(ONE, RED)
    assert [span.name for span in red.spans] == ["mine"]
    assert (red.summary.name, red.summary.start_ns) == ("mine", 5)
    blue = await questions.trace(ONE, BLUE)
    assert [span.name for span in blue.spans] == ["theirs", "below theirs"]
    everything = await questions.trace(ONE, ADMIN)
    assert (len(everything.spans), everything.summary.tenant, everything.summary.spans) == (3, "blue", 3)
    listed, _ = await questions.traces(ANY, Page(), ADMIN)
    assert sorted(summary.tenant for summary in listed) == ["blue", "red"]


async def test_sums_have_every_span_that_is_shown_while_more_arrive(questions, store, make_span, monkeypatch):
    await store.write([make_span(1)])

    def then_one_arrives(read):
        async def reading(*asked):
            found = await read(*asked)
            await store.write([make_span(1)])
            return found

        return reading

    for name in ("summaries", "spans"):
        monkeypatch.setattr(store, name, then_one_arrives(getattr(store, name)))
    trace = await questions.trace(ONE, RED)
    assert trace.summary.spans > len(trace.spans) == 1


@pytest.mark.parametrize("bad", ["", "xyz", "0" * 32, "1" * 31, "1" * 33, "g" * 32, "1" * 31 + "\0"])
async def test_a_bad_trace_id_is_named(questions, bad):
    for ask in (questions.trace(bad, RED), questions.add_feedback(FeedbackGiven(bad, score=1), RED)):
        with pytest.raises(BadInput) as caught:
            await ask
        assert caught.value.param == "trace_id"


async def test_pages_cover_everything_once_also_while_new_traces_arrive(questions, store, make_span):
    # many at the same moment, so that time alone does not order them
    await store.write([make_span(number, start=1000 + number // 4) for number in range(1, 24)])
    seen, token, rounds = [], "", 0
    while True:
        page, token = await questions.traces(ANY, Page(5, token), RED)
        seen += [summary.trace_id for summary in page]
        rounds += 1
        await store.write([make_span(1000 + rounds, start=9999)])
        if not token:
            break
    assert rounds == 5
    assert len(seen) == len(set(seen)) == 23
    starts = [store.sums[trace_id, "red"].start_ns for trace_id in seen]
    assert starts == sorted(starts, reverse=True)


async def test_a_full_last_page_has_no_next(questions, store, make_span):
    await store.write([make_span(number) for number in range(1, 6)])
    page, token = await questions.traces(ANY, Page(5), RED)
    assert (len(page), token) == (5, "")


async def test_filters(questions, store, make_span):
    await store.write(
        [
            make_span(1, start=100, attributes={"gen_ai.request.model": "small"}),
            make_span(2, start=200, status="error"),
            make_span(3, start=300),
        ]
    )

    async def found(**fields):
        return [
            int(summary.trace_id, 16) for summary in (await questions.traces(TraceFilter(**fields), Page(), RED))[0]
        ]

    assert await found(model="small") == [1]
    assert await found(status="error") == [2]
    assert await found(status="ok") == [3, 1]
    assert await found(from_ns=200, to_ns=300) == [2]
    assert await found(model="'; DROP TABLE x; --") == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"status": "bad"}, "status"),
        ({"from_ns": 5, "to_ns": 5}, "to"),
        ({"model": "a\0"}, "model"),
        ({"text": "x" * 513}, "text"),
        ({"min_duration_ns": 5, "max_duration_ns": 4}, "max_duration_ms"),
        ({"min_cost_nano_usd": 5, "max_cost_nano_usd": 4}, "max_cost_usd"),
        ({"min_feedback": float("nan")}, "min_feedback"),
    ],
)
async def test_bad_filters_name_the_field(questions, fields, param):
    wanted = TraceFilter(**fields)
    for ask in (
        questions.traces(wanted, Page(), RED),
        questions.sessions(wanted, Page(), RED),
        questions.aggregate(wanted, Sums(), RED),
        questions.compare(ANY, wanted, RED),
    ):
        with pytest.raises(BadInput) as caught:
            await ask
        assert caught.value.param == param


@pytest.mark.parametrize(
    "token",
    [
        "!", "eA", "é", base64.b64encode(b"[1]").decode(),
        base64.b64encode(b'[99999999999999999999,"a","b"]').decode(),
        base64.b64encode(f'[1,"{ONE}","\\u0000"]'.encode()).decode(),
    ],
)  # fmt: skip
async def test_made_up_page_tokens_are_bad_input(questions, token):
    for ask in (questions.traces(ANY, Page(0, token), RED), questions.sessions(ANY, Page(0, token), RED)):
        with pytest.raises(BadInput) as caught:
            await ask
        assert caught.value.param == "page_token"
    with pytest.raises(BadInput) as caught:
        await questions.traces(ANY, Page(1001), RED)
    assert caught.value.param == "limit"


async def test_other_tenants_are_for_admins(questions, store, make_span):
    await store.write([make_span(1), make_span(2, tenant="blue")])
    with pytest.raises(Forbidden):
        await questions.traces(TraceFilter(tenant="blue"), Page(), RED)
    found, _ = await questions.traces(TraceFilter(tenant="blue"), Page(), ADMIN)
    assert [summary.tenant for summary in found] == ["blue"]
    assert len((await questions.traces(TraceFilter(tenant="red"), Page(), RED))[0]) == 1


async def test_a_user_is_asked_for_by_name_and_looked_for_by_digest(questions, store, vault):
    await questions.traces(TraceFilter(user="ana"), Page(), RED)
    assert store.asked[-1].user == vault.digest("red", "ana") != "ana"
    with pytest.raises(BadInput) as caught:
        await questions.traces(TraceFilter(user="ana"), Page(), ADMIN)
    assert caught.value.param == "user"


async def test_sessions_are_the_traces_of_a_conversation(questions, store, make_span):
    def turn(trace, session, **fields):
        return make_span(trace, start=trace * 10, attributes={"gen_ai.conversation.id": session}, **fields)

    await store.write([turn(1, "a"), turn(2, "b"), turn(3, "a", status="error"), make_span(4)])
    first, token = await questions.sessions(ANY, Page(1), RED)
    second, end = await questions.sessions(ANY, Page(1, token), RED)
    assert [(one.session, one.traces, one.errors) for one in (*first, *second)] == [("a", 2, 1), ("b", 1, 0)]
    assert not end


@pytest.mark.parametrize(
    ("sums", "param"),
    [
        (Sums(("colour",)), "group_by"),
        (Sums(("model", "model")), "group_by"),
        (Sums(("model", "arm", "status", "cache", "error")), "group_by"),
        (Sums(bucket_s=59), "bucket_s"),
        (Sums(limit=10_001), "limit"),
    ],
)
async def test_bad_sums_name_the_field(questions, sums, param):
    with pytest.raises(BadInput) as caught:
        await questions.aggregate(ANY, sums, RED)
    assert caught.value.param == param


async def test_sums_are_of_the_last_day_unless_it_is_said_otherwise(store, cleaner, vault):
    now = 10 * 86_400 * 10**9
    questions = Questions(store, cleaner, vault, lambda: now)
    store.measured = [Measured(requests=number) for number in range(5)]
    rows, counted, more = await questions.aggregate(ANY, Sums(limit=2), RED)
    assert (len(rows), more) == (2, True)
    assert (counted.from_ns, counted.to_ns, counted.tenant) == (now - 86_400 * 10**9, now, "red")
    _, counted, more = await questions.aggregate(TraceFilter(from_ns=1, to_ns=2), Sums(), RED)
    assert (counted.from_ns, counted.to_ns, more) == (1, 2, False)


async def test_feedback_is_kept_with_who_gave_it(questions, store, make_span, secret):
    span = make_span(1)
    await store.write([span])
    given = FeedbackGiven(ONE, span.span_id, score=0.5, label="good", comment=f"used {secret}")
    added = await questions.add_feedback(given, RED)
    assert (added.tenant, added.key_id, added.created_ns) == ("red", "k1", 5_000)
    assert added.user not in ("", "ana")
    assert secret not in added.comment
    assert (await questions.trace(ONE, RED)).feedback == [added]
    by_admin = await questions.add_feedback(FeedbackGiven(ONE, label="reviewed"), ADMIN)
    assert by_admin.tenant == "red", "the trace's tenant sees what was said about it"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "score"),
        ({"score": 1.1}, "score"),
        ({"score": float("nan")}, "score"),
        ({"label": "x" * 65}, "label"),
        ({"comment": "x" * 4001}, "comment"),
        ({"score": 1, "span_id": "zz"}, "span_id"),
    ],
)
async def test_bad_feedback_names_the_field(questions, store, make_span, fields, param):
    await store.write([make_span(1)])
    with pytest.raises(BadInput) as caught:
        await questions.add_feedback(FeedbackGiven(ONE, **fields), RED)
    assert caught.value.param == param
    assert not store.said


async def test_feedback_on_what_is_not_yours_is_not_found(questions, store, make_span):
    theirs = make_span(1, tenant="blue")
    await store.write([make_span(1), theirs])
    for given in (FeedbackGiven(f"{9:032x}", score=1), FeedbackGiven(ONE, theirs.span_id, score=1)):
        with pytest.raises(NotFound):
            await questions.add_feedback(given, RED)


async def test_of_a_huge_trace_the_beginning_is_shown(questions, store, make_span):
    root = make_span(1, start=1)
    await store.write([root, *(make_span(1, start=number, parent=root) for number in range(2, MOST_SPANS + 10))])
    await store.write([make_span(1, tenant="blue", start=0) for _ in range(10)])
    trace = await questions.trace(ONE, RED)
    assert (len(trace.spans), trace.left_out, trace.spans[0]) == (MOST_SPANS, 9, root)
    assert (await questions.trace(ONE, BLUE)).left_out == 0


async def test_traces_of_a_person_are_erased_for_the_person_and_for_keys_that_speak_for_people(questions):
    def key(tenant: str = "red", user: str = "", *scopes: str) -> Identity:
        return Identity("gateway", tenant, user=user, scopes=frozenset(scopes))

    speaker = key("red", "", "assert_identity")
    for who in (ADMIN, key("red", "ana"), speaker, key("red", "", "read_all")):
        assert await questions.erase("red", "ana", who) == (0, 0)
    refused = [key(), key("red", "bob"), key("red", "bob", "read_all"), key("blue", "ana"), key("blue", "", "read_all")]
    for who in refused:
        with pytest.raises(Forbidden):
            await questions.erase("red", "ana", who)
    with pytest.raises(Forbidden):
        await questions.erase("red", "", speaker)
