"""Questions that somebody asks again soon after he had an answer."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from headrace_kit.telemetry import genai
from headrace_tracing.domain.asks import Ask, again, same
from headrace_tracing.domain.content import Content, Turn
from headrace_tracing.domain.retried import Retries, Retrying

QUESTION = "How many days of leave do I have?"
S = 10**9


def ask(at_s: int, question: str = QUESTION, **fields) -> Ask:
    made = Ask("red", "ann", "", f"{at_s:032x}", at_s * S, (at_s + 5) * S, question)
    return replace(made, **fields)


@pytest.mark.parametrize(
    ("other", "alike", "expected"),
    [
        ("how many   days of LEAVE do I have", 1, True),
        ("How many days of leave do we have?", 1, False),
        ("How many days of leave do we have?", 0.8, True),
        ("Who books trains to Porto?", 0.8, False),
    ],
)
def test_the_same_question_has_the_same_words(other, alike, expected):
    assert same(QUESTION, other, alike) is expected


def test_short_texts_are_said_again_for_other_reasons():
    assert not same("Go on!", "go on", 1)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        (ask(100), ask(110), True),
        (ask(100), ask(701), False),
        (ask(100), ask(103), False),
        (ask(100, answered=False), ask(110), False),
        (ask(100), ask(110, user="bob"), False),
        (ask(100), ask(110, tenant="blue"), False),
        (ask(100, session="one"), ask(110, session="other"), True),
        (ask(100, user="", session="one"), ask(110, user="", session="other"), False),
        (ask(100, user="", session="one"), ask(110, user="", session="one"), True),
        (ask(100, new=False), ask(110), True),
        (ask(100, new=False), ask(110, new=False), False),
    ],
    ids=[
        "soon after", "too late", "beside it", "after a failure", "another person", "another team",
        "in another conversation", "by nobody in another conversation", "by nobody in the same conversation",
        "new today", "looked at before",
    ],
)  # fmt: skip
def test_only_the_same_person_asks_again_and_only_soon_after_an_answer(first, second, found):
    assert list(again([first, second], 600 * S, 1)) == ([(first, second)] if found else [])


def test_each_answer_goes_with_the_next_question_like_it():
    one, between, two, three = ask(100), ask(110, "And who signs the request?"), ask(120), ask(130)
    assert list(again([one, between, two, three], 600 * S, 1)) == [(one, two), (two, three)]


@pytest.fixture
def asked(make_span):
    """A request's span that starts so many seconds after 1970, with what was said."""

    def make(trace: int, at_s: int, *turns: Turn):
        content = Content(turns or (Turn("user", QUESTION),))
        attributes = {genai.REQUEST_MODEL: "assistant", genai.USER: "digest-of-ann"}
        start = at_s * S
        return make_span(trace, start=start, end_ns=start + S, attributes=attributes, content=content)

    return make


@pytest.fixture
def retries(store, metrics):
    return Retries(store, store, metrics, lambda: Retrying(600, 1.0, -0.5), now_s=lambda: 2000)


async def test_the_first_answer_gets_implicit_feedback_once(store, registry, retries, asked):
    first, second = asked(1, 1000), asked(2, 1100)
    await store.write([first, second])
    assert await retries.look() == 1
    assert await retries.look() == 0
    (said,) = store.said
    assert (said.trace_id, said.tenant, said.user) == (first.trace_id, "red", "digest-of-ann")
    assert (said.source, said.label, said.score) == ("implicit", "retried", -0.5)
    assert second.trace_id in said.comment
    (summary,) = await store.summaries(first.trace_id)
    assert (summary.said.labels, summary.said.count) == (("retried",), 1)
    assert registry.get_sample_value("headrace_tracing_questions_retried_total") == 1
    # A third time: the second answer was not good enough either.
    await store.write([asked(3, 1200)])
    assert await retries.look() == 1
    assert {one.trace_id for one in store.said} == {first.trace_id, second.trace_id}


async def test_an_agent_that_brings_a_tools_result_asks_nothing_again(store, retries, asked):
    back = (Turn("user", QUESTION), Turn("assistant", "", "[]"), Turn("tool", "27"))
    await store.write([asked(1, 1000), asked(2, 1100, *back)])
    assert await retries.look() == 0
    assert not store.said


async def test_long_texts_are_compared_whole(store, retries, asked):
    same_beginning = "Summarise this text in three sentences. " * 10
    texts = [Turn("user", same_beginning + end) for end in ("About pumps.", "About valves.", "About valves.")]
    await store.write([asked(number, 1000 + 100 * number, text) for number, text in enumerate(texts, 1)])
    assert await retries.look() == 1
    assert store.said[0].trace_id == f"{2:032x}"


async def test_nothing_is_looked_at_where_nobody_wants_it(store, metrics, asked):
    await store.write([asked(1, 1000), asked(2, 1100)])
    assert await Retries(store, store, metrics, lambda: None, now_s=lambda: 2000).look() == 0
