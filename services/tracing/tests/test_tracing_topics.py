"""Topics by meaning: how they are learned and named, what is called drift of them, and who is asked for vectors."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from headrace_kit.errors import BadInput, Busy
from headrace_tracing.adapters.memory import MemoryProfileStore, MemoryTopicStore
from headrace_tracing.domain import topics
from headrace_tracing.domain.drift import Limits, Window, judged
from headrace_tracing.domain.drift_watch import DriftWatch, Watching
from headrace_tracing.domain.profiles import DAY_S, MEANING, Profile
from headrace_tracing.domain.sampled import Asked, Question
from headrace_tracing.domain.topic_watch import BATCH, Learning, TopicWatch
from headrace_tracing.domain.topics import UNLIKE, topic_profiles

TODAY = 20_000
NOW, BEFORE = Window(TODAY - 1, TODAY - 1), Window(TODAY - 8, TODAY - 2)
SIZE = 48
WORDS = ("invoice refund", "holiday leave", "pump valve", "contract clause")


def number(*parts: int) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()[:16]


class World:
    """Questions about topics, each of which has its direction."""

    def __init__(self, seed: int = 1, spread: float = 0.09) -> None:
        self.draw = np.random.default_rng(seed)
        self.centres = np.linalg.qr(self.draw.normal(size=(SIZE, 8)))[0].T
        self.seed, self.spread, self.made = seed, spread, 0

    def vector(self, topic: int) -> bytes:
        return (self.centres[topic] + self.draw.normal(0, self.spread, SIZE)).astype("<f2").tobytes()

    def question(self, day: int, topic: int, collections: tuple[str, ...] = (), asker: str = "") -> Question:
        self.made += 1
        trace = number(self.seed, self.made)
        text = f"What about the {WORDS[topic % len(WORDS)]}? [EMAIL_kqzmtpwa]"
        return Question(day, trace, collections, asker or trace.hex(), text, self.vector(topic))

    def days(self, before: list[float], now: list[float], each: int = 150) -> list[Question]:
        made = []
        for day in range(BEFORE.first, NOW.last + 1):
            shares = now if day in NOW else before
            made += [self.question(day, int(topic)) for topic in self.draw.choice(len(shares), each, p=shares)]
        return made


def looked_at(questions: list[Question], most: int = 8) -> list:
    profiles = topic_profiles(questions, "red", "assistant", NOW.last, NOW.first, most)
    return judged(profiles, NOW, BEFORE, Limits())


def test_groups_are_found_as_they_are():
    world = World()
    own = [at % 4 for at in range(400)]
    vectors = topics._matrix([world.question(1, topic) for topic in own])
    found = topics.nearest(vectors, topics.learned(vectors, 4))[0]
    pairs = set(zip(own, found.tolist(), strict=True))
    assert len(pairs) == 4 and len({group for _, group in pairs}) == 4
    assert (topics.learned(vectors, 4) == topics.learned(vectors, 4)).all(), "every replica finds the same"
    same = topics.learned(np.repeat(vectors[:1], 60, axis=0), 3)
    assert np.isfinite(same).all(), "sixty times the same question is no fault"


def test_a_change_of_topics_is_drift_and_says_which():
    (one,) = looked_at(World().days([0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]))
    assert one.drifted and one.feature == MEANING and one.test == "chi-square"
    counts = {name.partition(" ")[2]: (now, before) for name, now, before in one.bins}
    grown = counts["clause, contract"]
    assert grown[0] / one.count > 0.3 > 0.15 > grown[1] / one.reference_count
    assert one.count == 150 and one.reference_count < 7 * 150, "the half that topics were learned from is not counted"


def test_a_topic_that_was_never_there_is_unlike_all_others():
    (one,) = looked_at(World(spread=0.05).days([0.5, 0.5], [0.3, 0.3, 0, 0, 0, 0, 0.4]))
    assert one.drifted
    unlike = {name: now for name, now, _ in one.bins}[UNLIKE]
    assert unlike > 40


def test_without_a_change_alarms_are_as_rare_as_is_said():
    p_values = []
    for seed in range(80):
        # One wide cloud: topics are cut out of it by chance, and fit the questions that they were learned from best.
        questions = World(seed, spread=0.4).days([0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], each=120)
        (one,) = looked_at(questions)
        p_values.append(one.p_value)
        assert not one.drifted
    assert sum(p < 0.05 for p in p_values) <= 12, "about four of eighty"
    assert 0.3 < float(np.median(p_values)) < 0.8


def test_names_are_words_that_many_say():
    world = World()
    often = [world.question(1, topic) for topic in (0, 1) for _ in range(6)]
    alone = [world.question(1, 2, asker="one person") for _ in range(9)]
    names = topics.named([*often, *alone], [0] * 6 + [1] * 6 + [2] * 9, 3)
    assert names == ["01 invoice, refund", "02 holiday, leave", "03"]


def test_too_little_to_learn_from_is_no_topic():
    world = World()
    assert topic_profiles([], "red", "m", NOW.last, NOW.first, 8) == []
    few = [world.question(BEFORE.first, 0) for _ in range(50)]
    assert topic_profiles(few, "red", "m", NOW.last, NOW.first, 8) == []
    only_now = [world.question(NOW.first, at % 2) for at in range(300)]
    assert topic_profiles(only_now, "red", "m", NOW.last, NOW.first, 8) == []


def test_vectors_of_another_size_are_left_out():
    world = World()
    questions = world.days([0.5, 0.5], [0.5, 0.5])
    odd = [Question(NOW.first, number(9, at), (), "", "", b"\0" * 8) for at in range(20)]
    profiles = topic_profiles([*questions, *odd], "red", "m", NOW.last, NOW.first, 8)
    assert sum(sum(one.counts.values()) for one in profiles if one.day == NOW.first) == 150


def test_collections_are_counted_apart():
    world = World()
    questions = [
        world.question(day, at % 2, ("handbook",) if at % 3 else ())
        for day in range(BEFORE.first, NOW.last + 1)
        for at in range(90)
    ]
    profiles = topic_profiles(questions, "red", "m", NOW.last, NOW.first, 8)
    now = {one.collection: sum(one.counts.values()) for one in profiles if one.day == NOW.last}
    assert now == {"": 90, "handbook": 60}
    assert {one.learned for one in profiles} == {NOW.last}


def test_counts_over_topics_that_were_learned_apart_are_never_added():
    def learned(last: int, names: tuple[str, str]) -> list[Profile]:
        counts = {names[0]: 100, names[1]: 100}
        return [Profile(day, "red", "m", "", MEANING, counts, last) for day in range(last - 7, last + 1)]

    profiles = [*learned(TODAY - 2, ("01 a", "02 b")), *learned(TODAY - 1, ("01 c", "02 d"))]
    (one,) = judged(profiles, NOW, BEFORE, Limits())
    assert [name for name, _, _ in one.bins] == ["01 c", "02 d"] and (one.count, one.reference_count) == (200, 1400)
    (one,) = judged(profiles, Window(TODAY - 2, TODAY - 2), Window(TODAY - 9, TODAY - 3), Limits())
    assert [name for name, _, _ in one.bins] == ["01 a", "02 b"] and one.reference_count == 1400
    (one,) = judged(profiles, NOW, Window(TODAY - 30, TODAY - 20), Limits())
    assert one.reference_count == 0 and one.q_value is None, "those days were never counted over these topics"


class Model:
    """An embedding model that knows the directions of a world; `down` fails, and a text with `refuse` is refused."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.down = False
        self.calls: list[tuple[str, str, int]] = []

    async def embed(self, deployment: str, texts, tenant: str) -> list[bytes]:
        self.calls.append((deployment, tenant, len(texts)))
        if self.down:
            raise Busy("later", retry_after_s=1)
        if any("refuse" in text for text in texts):
            raise BadInput("not this one")
        return [self.world.vector(int(text.split()[0])) for text in texts]


def asked(day: int, tenant: str, shares: list[int]) -> list[Asked]:
    """`shares[n]` questions about topic n."""
    texts = [f"{topic} {WORDS[topic % len(WORDS)]}" for topic, count in enumerate(shares) for _ in range(count)]
    return [Asked(number(day, at, len(tenant)), tenant, "assistant", (), text) for at, text in enumerate(texts)]


def learning(**fields) -> Learning:
    return Learning("minilm", "minilm@1", **({"may_use": lambda _: True} | fields))


@pytest.fixture
def store():
    made = MemoryTopicStore()
    for day in range(BEFORE.first, NOW.last + 1):
        made.asked[day] = asked(day, "red", [20, 60] if day in NOW else [60, 20])
    return made


async def test_the_watch_learns_each_day_once(store, metrics, registry):
    model = Model(World())
    watch = TopicWatch(store, model, metrics, learning)
    assert await watch.look(NOW, BEFORE)
    assert {(deployment, tenant) for deployment, tenant, _ in model.calls} == {("minilm", "red")}
    assert max(count for _, _, count in model.calls) <= BATCH
    assert registry.get_sample_value("headrace_tracing_topics_embedded_total") == 8 * 80
    (one,) = judged(store.profiles[NOW.last], NOW, BEFORE, Limits(least=50))
    assert one.drifted
    calls = len(model.calls)
    assert not await watch.look(NOW, BEFORE), "done"
    later, before = Window(TODAY, TODAY), Window(TODAY - 7, TODAY - 1)
    store.asked[TODAY] = asked(TODAY, "red", [20, 60])
    assert await watch.look(later, before)
    assert len(model.calls) == calls + 2, "of the days before there are vectors already"


async def test_a_model_that_is_away_is_asked_again_and_only_for_the_rest(store, metrics, registry):
    model = Model(World())
    store.asked[NOW.last] += [Asked(number(7), "red", "assistant", (), "0 refuse this")]
    watch = TopicWatch(store, model, metrics, learning)
    model.down = True
    assert not await watch.look(NOW, BEFORE)
    assert registry.get_sample_value("headrace_tracing_topics_failed_total") == 1
    model.down = False
    assert await watch.look(NOW, BEFORE)
    assert registry.get_sample_value("headrace_tracing_topics_embedded_total") == 8 * 80, "all but what it refuses"


async def test_off_bounded_and_never_of_those_who_may_not_use_the_model(store, metrics):
    model = Model(World())
    assert not await TopicWatch(store, model, metrics, lambda: None).look(NOW, BEFORE)
    for day in list(store.asked):
        store.asked[day] += asked(day, "blue", [40, 40])
    bounded = TopicWatch(store, model, metrics, lambda: learning(may_use=lambda tenant: tenant != "blue", sample=10))
    assert await bounded.look(NOW, BEFORE)
    assert [(tenant, count) for _, tenant, count in model.calls] == [("red", 10)] * 8


async def test_drift_of_topics_is_told_with_all_other_drift(store, metrics, registry):
    profiles = MemoryProfileStore()
    topic_watch = TopicWatch(store, Model(World()), metrics, learning)

    async def with_topics(tenant, first, last):
        return [one for of in store.profiles.values() for one in of if first <= one.day <= last]

    profiles.profiles = with_topics
    limits = Watching(limits=Limits(least=50))
    watch = DriftWatch(profiles, metrics, lambda: limits, topic_watch, now_s=lambda: TODAY * DAY_S + 5.0)
    (one,) = await watch.look()
    assert one.drifted
    labels = {"tenant": "red", "model": "assistant", "collection": "", "feature": MEANING}
    assert registry.get_sample_value("headrace_tracing_drifted", labels) > 0.2
