"""Drift from stored traces: counted by PostgreSQL, told by the service."""

from __future__ import annotations

import time
from itertools import count

import pytest
import uuid_utils
from msgspec.structs import replace

from headrace_kit.errors import BadInput, Forbidden
from headrace_kit.telemetry import genai
from headrace_protos.tracing.v1 import messages_pb2
from headrace_tracing.adapters.postgres import DAY_S, PostgresTraceStore
from headrace_tracing.adapters.profiles import PostgresProfileStore
from headrace_tracing.domain.content import Content, PassageSeen, Turn
from headrace_tracing.domain.drift_asked import date_of
from headrace_tracing.domain.spans import Feedback, Span
from tests.integration.tracing_reading import pool, reader, spans_of, who

__all__ = ["pool", "reader"]

SERVICES = ("tracing",)
CONFIG = "tenants: {red: {}, blue: {}}\nservices: {tracing: {drift: {least: 20}}}\n"

NUMBERS = count(0x10_0000)
ENGLISH = ("How many days of leave do we have in this year?", "You have 27 days of it [1].")
GERMAN = ("Wie viele Urlaubstage haben wir in diesem Jahr?", "Es tut mir leid, das kann ich nicht sagen.")


def answered(number: int, said: tuple[str, str], *, tenant: str = "red", score: float = 0.75) -> Span:
    """A grounded request with its answer."""
    content = Content(
        input=(Turn("user", said[0]),),
        output=(Turn("assistant", said[1]),),
        passages=(PassageSeen(1, "handbook", "d", "c", "t", "Everybody has 27 days.", score, 0, 10),),
    )
    attributes = {
        genai.REQUEST_MODEL: "assistant", genai.COLLECTIONS: ["handbook"], genai.GROUNDEDNESS: 0.9,
        genai.BILLED: True, genai.USAGE_OUTPUT_TOKENS: 12,
    }  # fmt: skip
    return replace(spans_of(number, tenant, 1)[0], content=content, attributes=attributes)


@pytest.fixture
async def weeks(pool):
    """Eight days of traffic, the last of them yesterday and in German; returns both stores and today."""
    today = int(time.time()) // DAY_S
    for day in range(today - 8, today):
        store = PostgresTraceStore(pool, lambda day=day: day * DAY_S + 5.0)
        said, score = (GERMAN, 0.25) if day == today - 1 else (ENGLISH, 0.75)
        spans = []
        for _ in range(40):
            number = next(NUMBERS)
            spans.append(answered(number, said, score=score))
        await store.write([*spans, *(replace(span, tenant="blue") for span in spans[:5])])
    id_ = str(uuid_utils.uuid7())
    await store.add_feedback(Feedback(id_, f"{number:032x}", "red", "", -1.0, "", "", 1))
    profiles = PostgresProfileStore(pool)
    # All of them: the service may have looked while they were being written.
    for day in range(today - 8, today):
        await profiles.make_profiles(day, final=day < today - 1)
    yield profiles, PostgresTraceStore(pool), today
    async with pool.transaction() as connection:
        for table in ("traces", "feedback", "profiles", "profiled"):
            await connection.execute(f"DELETE FROM tracing.{table}")


async def drift(reader, identity, **fields) -> messages_pb2.GetDriftResponse:
    return await reader.peer.unary(reader.stub.GetDrift, messages_pb2.GetDriftRequest(**fields), identity)


async def test_a_day_is_counted_by_model_and_collection_exactly(weeks):
    profiles, store, today = weeks
    found = {(one.collection, one.feature): one.counts for one in await profiles.profiles("red", today - 1, today - 1)}
    for collection in ("", "handbook"):
        of = {feature: counts for (name, feature), counts in found.items() if name == collection}
        assert of.pop("topic") == {str(next(iter(found["", "topic"]))): 40}
        assert of == {
            "language": {"de": 40},
            "refused": {"1": 40},
            "input_chars": {"3": 40},
            "output_tokens": {"3": 40},
            "groundedness": {"9": 40},
            "retrieval_score": {"15": 40},
            "feedback": {"0": 1},
        }
    assert {one.day for one in await profiles.profiles(None, 0, 10**6)} == set(range(today - 8, today))
    assert await profiles.unprofiled(today) == []
    assert await profiles.unprofiled(today + 1) == [today - 1, today], "once more, for feedback that came late"
    before = await profiles.profiles("red", today - 1, today - 1)
    await profiles.make_profiles(today - 1, final=True)
    assert await profiles.profiles("red", today - 1, today - 1) == before, "counted again, not counted double"
    await store.erase("red", "somebody")
    assert await profiles.profiles("red", today - 1, today - 1) == before
    await store.erase("red", "")
    assert await profiles.profiles("red", 0, 10**6) == []
    await profiles.drop_profiles_before(today - 1)
    assert {one.day for one in await profiles.profiles(None, 0, 10**6)} == {today - 1}


async def test_the_service_tells_what_drifted(weeks, reader):
    _, _, today = weeks
    found = await drift(reader, who("red"))
    assert found.to == date_of(today - 1) and found.reference_from == date_of(today - 8)
    told = {(one.collection, one.feature): one for one in found.drifts}
    drifted = {key for key, one in told.items() if one.drifted}
    assert drifted == {
        (name, feature) for name in ("", "handbook") for feature in ("language", "topic", "refused", "retrieval_score")
    }
    one = told["handbook", "language"]
    assert [(bin_.name, bin_.count, bin_.reference_count) for bin_ in one.bins] == [("de", 40, 0), ("en", 0, 280)]
    assert one.q_value < 0.01 and one.psi > 1 and len(one.days) == 8
    scores = [bin_ for bin_ in told["", "retrieval_score"].bins if bin_.count]
    assert [(getattr(bin_, "from"), bin_.to) for bin_ in scores] == [(0.2, 0.3)]
    assert not told["", "feedback"].HasField("p_value"), "one is too few"
    assert {one.tenant for one in found.drifts} == {"red"}
    assert {one.tenant for one in (await drift(reader, who("", "admin"), drifted=True)).drifts} == {"red"}
    assert not (await drift(reader, who("blue"), drifted=True)).drifts
    with pytest.raises(Forbidden):
        await drift(reader, who("blue"), tenant="red")
    with pytest.raises(BadInput) as caught:
        await drift(reader, who("red"), day="soon")
    assert caught.value.param == "day"
