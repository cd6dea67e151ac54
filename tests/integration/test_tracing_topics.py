"""Topics by meaning, with a real embedding model in Triton behind a real inference service, and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import count
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

import headrace_local
from headrace_kit.config.loading import load
from headrace_kit.errors import HeadraceError
from headrace_kit.telemetry import genai
from headrace_protos.tracing.v1 import messages_pb2
from headrace_tracing.adapters.embedder import InferenceEmbedder
from headrace_tracing.adapters.postgres import DAY_S, PostgresTraceStore
from headrace_tracing.adapters.profiles import PostgresProfileStore
from headrace_tracing.adapters.topics import PostgresTopicStore
from headrace_tracing.domain.content import Content, Turn
from headrace_tracing.domain.drift import Limits, Window
from headrace_tracing.domain.drift_watch import DriftWatch, Watching
from headrace_tracing.domain.profiles import MEANING
from headrace_tracing.domain.spans import Span
from headrace_tracing.domain.topic_watch import Learning, TopicWatch
from headrace_tracing.metrics import Metrics
from tests.integration.tracing_reading import pool, reader, spans_of, who

__all__ = ["pool", "reader"]

SERVICES = ("triton", "inference", "tracing")
_CATALOGUE = load(Path(headrace_local.__file__).with_name("headrace.yaml")).catalogue["minilm"]
CONFIG = json.dumps(
    {
        "tenants": {"red": {}, "blue": {"residency": ["eu"]}},
        "catalogue": {"minilm": _CATALOGUE.model_dump(mode="json", exclude_none=True)},
        "deployments": {
            "minilm": {
                "engine": "triton-python", "task": "embed", "model": "minilm", "max_input_tokens": 256,
                "dimensions": 384,
            },
        },
        "services": {"tracing": {"drift": {"least": 40, "topics": {"embedding": "minilm"}}}},
    }
)  # fmt: skip
EACH = 40
LEAVE = (
    "How many days of {} do I have left this year?",
    "Can my manager refuse the {} that I have planned for August?",
    "Do part-time employees get the same {}?",
    "Who signs my request for {} when my manager is away?",
)
KINDS = ("holiday", "annual leave", "vacation", "time off", "parental leave")
BILLS = (
    "The {} shows a wrong amount, who corrects it?",
    "When is the {} of a supplier paid?",
    "Which cost centre do I book this {} on?",
    "How do I send a {} to a customer abroad?",
)
PAPERS = ("invoice", "bill", "credit note", "receipt", "supplier invoice")
PUMPS = (
    "The {} leaks at its seal, which spare part do I order?",
    "What torque do the screws of the {} need?",
    "The {} vibrates and gets hot after an hour, what is wrong?",
    "How often is the bearing of the {} greased?",
)
MACHINES = ("pump", "centrifugal pump", "compressor", "gear motor", "hydraulic valve")
NUMBERS = count(0x20_0000)


def question(forms: tuple[str, ...], words: tuple[str, ...], number: int) -> str:
    return forms[number % len(forms)].format(words[number // len(forms) % len(words)])


def asked(text: str, number: int, tenant: str) -> Span:
    attributes = {genai.REQUEST_MODEL: "assistant", genai.COLLECTIONS: ["handbook"], genai.USER: f"user-{number % 17}"}
    return replace(spans_of(number, tenant, 1)[0], content=Content((Turn("user", text),)), attributes=attributes)


@pytest.fixture
async def today(pool):
    """Eight days: leave and bills, and yesterday mostly pumps."""
    last = int(time.time()) // DAY_S
    for day in range(last - 8, last):
        forms, words = (PUMPS, MACHINES) if day == last - 1 else (BILLS, PAPERS)
        texts = [question(LEAVE, KINDS, at) if at % 4 == 0 else question(forms, words, at) for at in range(EACH)]
        spans = [asked(text, next(NUMBERS), "red") for text in texts]
        spans += [asked(text, next(NUMBERS), "blue") for text in texts[:5]]
        await PostgresTraceStore(pool, lambda day=day: day * DAY_S + 5.0).write(spans)
    return last


async def rows(pool, query: str) -> list:
    return [row[0] for row in await pool.fetch(query)]


async def test_what_is_asked_about_is_told_by_its_meaning(part, pool, today, reader):
    peer = part.peer("inference", caller="tracing")
    embedder = InferenceEmbedder(peer)
    deadline = time.monotonic() + 120
    while True:
        try:
            await embedder.embed("minilm", ["are you there?"], "red")
            break
        except HeadraceError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
    # Another version than the service's own, which looked at these days before anything was asked on them.
    learning = Learning("minilm", "minilm@test", lambda tenant: tenant != "blue")
    topics, metrics = PostgresTopicStore(pool), Metrics(CollectorRegistry())
    watching = Watching(limits=Limits(least=40))
    watch = DriftWatch(
        PostgresProfileStore(pool), metrics, lambda: watching, TopicWatch(topics, embedder, metrics, lambda: learning)
    )
    told = [one for one in await watch.look() if one.feature == MEANING]
    assert {(one.tenant, one.collection, one.drifted) for one in told} == {("red", "", True), ("red", "handbook", True)}
    assert len(await rows(pool, "SELECT trace_id FROM tracing.topic_vectors WHERE tenant = 'red'")) == 8 * EACH
    assert await rows(pool, "SELECT trace_id FROM tracing.topic_vectors WHERE tenant = 'blue'") == []

    request = messages_pb2.GetDriftRequest(feature=MEANING, model="assistant")
    found = await reader.peer.unary(reader.stub.GetDrift, request, who("red"))
    one = next(drift for drift in found.drifts if not drift.collection)
    assert one.drifted and one.test == "chi-square" and one.count == EACH and len(one.days) == 8
    gone = sum(bin_.reference_count for bin_ in one.bins if not bin_.count)
    assert gone > one.reference_count / 2, "bills, of which nobody asks any more"
    assert any(word in bin_.name for bin_ in one.bins for word in ("invoice", "bill", "supplier")), one.bins
    assert not (await reader.peer.unary(reader.stub.GetDrift, request, who("blue"))).drifts

    embedded = metrics.topics_embedded._value.get()
    await watch.look()
    assert metrics.topics_embedded._value.get() == embedded == 8 * EACH, "each question once"

    # What is known of a person goes with him, and what is known of a team with it.
    store, before = PostgresTraceStore(pool), Window(today - 8, today - 2)
    digest = await rows(pool, "SELECT user_digest FROM tracing.traces WHERE tenant = 'red' ORDER BY 1 LIMIT 1")
    erased, _ = await store.erase("red", digest[0])
    assert erased and len(await rows(pool, "SELECT 1 FROM tracing.topic_vectors")) == 8 * EACH - erased
    assert await topics.questions("red", "assistant", before.first, before.last, "minilm@test")
    await store.drop_days_before(today - 7, sealed_before=0)
    assert set(await rows(pool, "SELECT DISTINCT day FROM tracing.topic_vectors")) == set(range(today - 7, today))
    await store.erase("red", "")
    assert await rows(pool, "SELECT day FROM tracing.topic_vectors") == []
    assert await rows(pool, "SELECT day FROM tracing.topic_profiles") == []
    await peer.close()


async def test_one_replica_learns_and_what_it_left_is_taken_over(pool):
    topics, day = PostgresTopicStore(pool), 50_000
    assert await topics.claim_topics(day, "a@1")
    assert not await topics.claim_topics(day, "a@1"), "somebody is at it"
    await topics.free_topics(day)
    assert await topics.claim_topics(day, "a@1"), "he gave it back"
    await pool.fetch("UPDATE tracing.topics_learned SET claimed_until = now() - interval '1 s' WHERE day = %s", day)
    assert await topics.claim_topics(day, "a@1"), "he was killed"
    await topics.end_topics(day)
    assert not await topics.claim_topics(day, "a@1"), "done"
    assert await topics.claim_topics(day, "a@2"), "another model means other topics"


async def test_the_sample_is_the_same_each_time_and_even(pool, today):
    topics, day = PostgresTopicStore(pool), today - 3
    first = await topics.unembedded(day, "b@1", 10, 1000)
    assert [one.tenant for one in first].count("red") == 10
    few = await topics.unembedded(day, "b@1", 10, 8)
    assert sorted(one.tenant for one in few) == ["blue"] * 4 + ["red"] * 4
    await topics.keep_vectors(day, "b@1", [(one, b"\0\0") for one in first[:7]])
    assert {one.trace_id for one in await topics.unembedded(day, "b@1", 10, 1000)} == {
        one.trace_id for one in first[7:]
    }
