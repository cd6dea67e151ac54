"""Questions that are asked again, found in a real database."""

from __future__ import annotations

import time
from itertools import count

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from headrace_kit.telemetry import genai
from headrace_tracing.adapters.asks import PostgresAskStore
from headrace_tracing.domain.content import Content, Turn
from headrace_tracing.domain.filters import TraceFilter
from headrace_tracing.domain.retried import Retries, Retrying
from headrace_tracing.domain.spans import Span
from headrace_tracing.metrics import Metrics
from tests.integration.tracing_reading import pool, spans_of, store

__all__ = ["pool", "store"]

SERVICES = ()
CONFIG = "tenants: {red: {}, blue: {}}"
QUESTION = "How many days of leave do I have?"
S = 10**9
NUMBERS = count(0x30_0000)


@pytest.fixture
def retries(pool, store):
    """A replica that looks; each is one that knows of no look before."""
    return lambda: Retries(PostgresAskStore(pool), store, Metrics(CollectorRegistry()), lambda: Retrying(score=-0.5))


def ask(ago_s: int, tenant: str, text: str = QUESTION, status: str = "ok", **who: str) -> Span:
    names = {"user": genai.USER, "session": genai.CONVERSATION_ID}
    attributes = {genai.REQUEST_MODEL: "assistant", **{names[name]: value for name, value in who.items()}}
    start = time.time_ns() - ago_s * S
    return replace(
        spans_of(next(NUMBERS), tenant, 1)[0], start_ns=start, end_ns=start + S, status=status,
        content=Content((Turn("user", text),)), attributes=attributes,
    )  # fmt: skip


async def retried(store, tenant: str) -> set[str]:
    return {one.trace_id for one in await store.traces(TraceFilter(tenant=tenant, label="retried"), 100)}


async def test_who_asks_again_tells_of_the_answer_before_once_for_all_replicas(pool, store, retries):
    by_ann = [ask(300, "red", user="ann"), ask(200, "red", user="ann")]
    by_ann.append(ask(100, "red", "how many DAYS of leave do i have", user="ann"))
    in_a_talk = [ask(90, "red", session="talk"), ask(60, "red", session="talk")]
    others = [
        ask(250, "red", user="bob"),
        ask(150, "blue", user="ann"),
        ask(250, "blue", status="error", user="cem"), ask(150, "blue", user="cem"),
        ask(1200, "blue", user="dan"), ask(10, "blue", user="dan"),
        ask(200, "blue"), ask(100, "blue"),
    ]  # fmt: skip
    await store.write([*by_ann, *in_a_talk, *others])
    expected = {by_ann[0].trace_id, by_ann[1].trace_id, in_a_talk[0].trace_id}
    one, other = retries(), retries()
    assert await one.look() == 3
    assert await one.look() == await other.look() == 0
    assert await retried(store, "red") == expected
    assert await retried(store, "blue") == set()
    (said,) = await store.feedback(by_ann[0].trace_id)
    assert (said.source, said.score, said.user) == ("implicit", -0.5, "ann")
    assert by_ann[1].trace_id in said.comment
    (summary,) = await store.summaries(by_ann[0].trace_id)
    assert summary.said.count == 1 and summary.said.mean == -0.5

    # What came in later is held against what was looked at before.
    later = ask(5, "red", user="ann")
    await store.write([later])
    assert await one.look() == 1
    assert await retried(store, "red") == expected | {by_ann[2].trace_id}

    # It goes with the person.
    await store.erase("red", "ann")
    assert await retried(store, "red") == {in_a_talk[0].trace_id}
    assert await store.feedback(by_ann[0].trace_id) == []


async def test_of_people_of_whom_nothing_came_in_since_nothing_is_read(pool, store):
    asks, begin = PostgresAskStore(pool), time.time_ns() - 3600 * S
    await store.write([ask(300, "red", user="eve"), ask(200, "red", user="eve"), ask(100, "red", user="alone")])
    known = await asks.asks(begin, 0)
    assert [one.user for one in known if one.user in ("eve", "alone")] == ["eve", "eve"]
    assert await asks.asks(begin, time.time() + 60) == []
