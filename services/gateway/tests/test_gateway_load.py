"""Choices by load and by prefix cache: the estimates, the bounds, and simulations of skewed loads."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import count
from statistics import mean, quantiles
from typing import Any

import pytest

from headrace_gateway.adapters.loads import LoadPoll
from headrace_gateway.routing.affinity import bounded, key_of, ranked
from headrace_gateway.routing.choose import PoolChooser
from headrace_gateway.routing.load import FRESH_S, LoadBook
from headrace_gateway.routing.plan import Member, Pool, Target
from headrace_kit.config.deployments import Price
from headrace_kit.config.routing import Routing
from headrace_kit.errors import Upstream
from headrace_kit.rpc import Identity
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message, Sampling, Usage
from headrace_protos.inference.v1.messages_pb2 import DeploymentLoad, GenerateRequest, GetLoadResponse


def target(name: str) -> Target:
    return Target(name, "triton-scripted", Price(), 1000, 4096)


A, B, C, D = map(target, "abcd")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Tried:
    """What the book reads of an attempt."""

    target: Target
    first_token_s: float | None = 0.1
    elapsed_s: float = 1.0
    usage: Usage = field(default_factory=lambda: Usage(output_tokens=10))
    error: BaseException | None = None
    pieces: int = 5


def answered(book: LoadBook, where: Target, first_s: float, total_s: float, tokens: int, pieces: int = 5) -> None:
    attempt: Any = Tried(where, first_s, total_s, Usage(output_tokens=tokens), pieces=pieces)
    book.began(attempt)
    book.ended(attempt)


def load(name: str, **more: Any) -> DeploymentLoad:
    return DeploymentLoad(**{"deployment": name, "slots": 4, "ready": True, **more})


def turn(text: str = "hi", role: str = "user") -> Message:
    return Message(role=role, parts=[ContentPart(text=text)])


def test_an_estimate_is_wait_and_prompt_and_the_tokens_to_expect():
    book = LoadBook(Clock())
    assert book.finish_ms("a", 0) is None
    answered(book, A, 0.1, 1.0, 10)
    assert book.finish_ms("a", 0) == pytest.approx(100 + 100 * 10)
    assert book.finish_ms("a", 4) == pytest.approx(100 + 100 * 4)
    book.take([load("a", waiting=2, running=4, wait_ms=3000)])
    assert book.finish_ms("a", 4) == pytest.approx(3000 + 500)


def test_what_inference_measured_stands_in_until_something_was_seen_here():
    book = LoadBook(Clock())
    book.take([load("a", first_token_ms=50, output_token_ms=2)])
    assert book.finish_ms("a", 100) == pytest.approx(50 + 2 * 100)
    answered(book, A, 0.2, 0.6, 5)
    assert book.finish_ms("a", 3) == pytest.approx(200 + 100 * 3)


def test_answers_that_came_whole_count_by_the_token():
    book = LoadBook(Clock())
    answered(book, A, 2.0, 2.0, 20, pieces=1)
    assert book.finish_ms("a", 10) == pytest.approx(1000)


def test_failed_attempts_teach_nothing_and_leave_nothing():
    book = LoadBook(Clock())
    attempt: Any = Tried(A, error=Upstream("broke"))
    book.began(attempt)
    assert book.in_flight("a") == 1
    book.ended(attempt)
    assert book.in_flight("a") == 0
    assert book.pace("a") is None


def test_a_report_is_corrected_by_what_was_sent_since_others_included():
    clock = Clock()
    book = LoadBook(clock)
    sent: list[Any] = [Tried(A) for _ in range(6)]
    for attempt in sent[:2]:
        book.began(attempt)
    book.take([load("a", running=4, waiting=2, wait_ms=600)])
    assert book.in_flight("a") == 6
    assert book.wait_ms("a") == pytest.approx(600)
    for attempt in sent[2:4]:
        book.began(attempt)
    # This gateway had 2 of 6 there: the 2 that it sent since are taken for 6.
    assert book.in_flight("a") == 12
    assert book.wait_ms("a") == pytest.approx(9 * 200)
    for attempt in sent[:4]:
        book.ended(attempt)
    assert book.in_flight("a") == 0
    assert book.wait_ms("a") == 0


def test_an_old_report_says_nothing_about_the_queue():
    clock = Clock()
    book = LoadBook(clock)
    book.take([load("a", running=4, waiting=9, wait_ms=5000)])
    assert book.wait_ms("a") > 0
    clock.now += FRESH_S + 0.1
    assert book.wait_ms("a") == 0
    assert book.in_flight("a") == 0


def test_the_sooner_of_two_is_chosen_and_one_that_is_not_loaded_is_not(rig):
    book = LoadBook(Clock())
    pool = Pool((Member(A), Member(B)), Routing(choose="least_finish_time"))
    chooser, ctx = PoolChooser(loads=book, draw=random.Random(3)), rig.context()
    request = GenerateRequest(messages=[turn()])
    book.take([load("a", first_token_ms=50, output_token_ms=10), load("b", first_token_ms=50, output_token_ms=20)])
    assert chooser.choose(ctx, pool, request).target is A
    book.take([load("a", first_token_ms=50, output_token_ms=10, running=4, waiting=9, wait_ms=60_000)])
    assert chooser.choose(ctx, pool, request).target is B
    book.take([load("b", ready=False), load("a", first_token_ms=50, output_token_ms=10, wait_ms=60_000, running=9)])
    assert chooser.choose(ctx, pool, request).target is A
    # A short answer is sooner where the prompt is read fast, a long one where tokens come fast.
    book.take([load("a", first_token_ms=10, output_token_ms=20), load("b", first_token_ms=500, output_token_ms=1)])
    request.sampling.CopyFrom(Sampling(max_tokens=5))
    assert chooser.choose(ctx, pool, request).target is A
    request.sampling.CopyFrom(Sampling(max_tokens=500))
    assert chooser.choose(ctx, pool, request).target is B


def test_who_was_slow_once_is_looked_at_again(rig):
    clock = Clock()
    book = LoadBook(clock)
    pool = Pool((Member(A), Member(B)), Routing(choose="least_finish_time"))
    chooser = PoolChooser(loads=book, draw=random.Random(1))
    answered(book, A, 0.1, 1.0, 10)
    answered(book, B, 9.0, 9.9, 10)
    seen = []
    for _ in range(2000):
        clock.now += 0.1
        choice = chooser.choose(rig.context(), pool, GenerateRequest(messages=[turn()]))
        seen.append(choice.target.name)
        answered(book, choice.target, *((0.1, 1.0) if choice.target is A else (0.05, 0.5)), 10)
    assert set(seen[:99]) == {"a"}
    assert seen[99:].index("b") < 150
    assert seen[-1000:].count("b") > 900


def test_reports_are_wanted_while_somebody_chooses_by_them(rig):
    clock = Clock()
    book = LoadBook(clock)
    assert not book.wanted
    PoolChooser(loads=book).choose(rig.context(), Pool((Member(A), Member(B))), None)
    assert not book.wanted
    pool = Pool((Member(A), Member(B)), Routing(choose="least_finish_time"))
    PoolChooser(loads=book).choose(rig.context(), pool, None)
    assert book.wanted
    clock.now += 61
    assert not book.wanted


async def test_the_poll_asks_when_it_is_wanted_and_outlives_inference():
    class Stub:
        def __init__(self, _: object) -> None:
            self.GetLoad = "GetLoad"

    class Inference:
        asked, away = 0, False

        def stub(self, _: object) -> Stub:
            return Stub(None)

        async def unary(self, method, request, sent):
            self.asked += 1
            if self.away:
                raise Upstream("away")
            return GetLoadResponse(loads=[load("a", running=3)])

    peer, book = Inference(), LoadBook(Clock())
    poll = LoadPoll(peer, book)  # type: ignore[arg-type]
    await poll.once()
    assert peer.asked == 0
    book.use()
    peer.away = True
    await poll.once()
    assert (peer.asked, book.in_flight("a")) == (1, 0)
    peer.away = False
    await poll.once()
    assert (peer.asked, book.in_flight("a")) == (2, 3)


def test_every_choice_among_several_is_counted_with_its_reason(rig):
    seen = []
    chooser = PoolChooser(chosen=lambda *choice: seen.append(choice))
    chooser.choose(rig.context(), Pool((Member(A),)), None)
    chooser.choose(rig.context(), Pool((Member(A), Member(B))), None)
    chooser.choose(rig.context(), Pool((Member(A), Member(B))), None, exclude=[A])
    assert seen == [("", "a", "weight"), ("", "b", "only")]


def test_a_key_keeps_its_deployment_when_another_comes_or_goes():
    members = [Member(one) for one in (A, B, C, D)]
    keys = [f"key {number}".encode() for number in range(2000)]
    before = {key: ranked(key, members)[0] for key in keys}
    after = {key: ranked(key, members[:3])[0] for key in keys}
    assert all(after[key] is first for key, first in before.items() if first is not members[3])
    assert all(400 < share < 600 for share in Counter(before.values()).values())
    heavy = [Member(A, 3), Member(B, 1)]
    assert 1400 < sum(ranked(key, heavy)[0] is heavy[0] for key in keys) < 1600


def test_a_deployment_is_passed_over_when_it_has_more_than_its_slots_and_its_share():
    order = [Member(A), Member(B), Member(C)]
    busy = {"a": 4, "b": 0, "c": 0}
    assert bounded(order, 1.5, busy.__getitem__, lambda _: 0).target is B
    assert bounded(order, 1.5, busy.__getitem__, lambda _: 8).target is A
    assert bounded(order, 3.0, busy.__getitem__, lambda _: 0).target is A
    busy.update(a=40, b=40, c=40)
    assert bounded(order, 1.5, busy.__getitem__, lambda _: 4).target is A


def asked(*messages: Message) -> GenerateRequest:
    return GenerateRequest(messages=messages)


def test_what_shares_a_prefix_shares_a_key(rig):
    ctx = rig.context()
    system = turn("You know dams.", "system")
    first = asked(system, turn("one"))
    assert key_of(ctx, first, "prefix") == key_of(ctx, asked(system, turn("two")), "prefix")
    assert key_of(ctx, first, "prefix") != key_of(ctx, asked(turn("You sell.", "system"), turn("one")), "prefix")
    assert key_of(ctx, asked(turn("one")), "prefix") != key_of(ctx, asked(turn("two")), "prefix")
    later = asked(system, turn("one"), turn("yes", "assistant"), turn("two"))
    assert key_of(ctx, first, "conversation") == key_of(ctx, later, "conversation")
    assert key_of(ctx, first, "conversation") != key_of(ctx, asked(system, turn("two")), "conversation")
    ctx.conversation = "c1"
    assert key_of(ctx, asked(turn("one")), "conversation") == key_of(ctx, asked(turn("two")), "conversation")
    assert key_of(ctx, GenerateRequest(), "prefix") == b""
    other = rig.context()
    other.identity = Identity("gateway", "other", "k")
    assert key_of(other, first, "prefix") != key_of(ctx, first, "prefix")


def test_requests_with_one_prefix_go_to_one_deployment_until_it_is_too_busy(rig):
    book = LoadBook(Clock())
    chooser = PoolChooser(loads=book)
    pool = Pool(tuple(map(Member, (A, B, C))), Routing(affinity="prefix", spill=1.5))
    made = [asked(turn("You know dams.", "system"), turn(f"question {number}")) for number in range(20)]
    choices = [chooser.choose(rig.context(), pool, request) for request in made]
    assert len({choice.target.name for choice in choices}) == 1
    assert {choice.why for choice in choices} == {"prefix"}
    preferred = choices[0].target
    for _ in range(4):
        book.began(Tried(preferred))  # type: ignore[arg-type]
    spilled = [chooser.choose(rig.context(), pool, request) for request in made]
    assert {choice.why for choice in spilled} == {"spill"}
    assert len({choice.target.name for choice in spilled}) == 1
    assert spilled[0].target is not preferred
    assert chooser.choose(rig.context(), pool, made[0], tried=[preferred]).target is spilled[0].target


@dataclass
class Job:
    gateway: int
    attempt: Tried
    tokens: int
    arrived: float
    started: float = 0.0


@dataclass
class Server:
    """Runs `slots` requests at once; further ones wait in order."""

    slots: int
    prompt_s: float
    token_s: float
    running: int = 0
    queue: deque[Job] = field(default_factory=deque)

    def takes_s(self, tokens: int) -> float:
        return self.prompt_s + self.token_s * tokens

    def report(self, name: str) -> DeploymentLoad:
        wait_s = self.takes_s(TOKENS) * (len(self.queue) + 1) / self.slots if self.running >= self.slots else 0.0
        return load(
            name, slots=self.slots, waiting=len(self.queue), running=self.running, wait_ms=wait_s * 1000,
            first_token_ms=self.prompt_s * 1000, output_token_ms=self.token_s * 1000,
        )  # fmt: skip


TOKENS = 100


def simulate(
    rig, choose: str, *, gateways: int = 1, weights: tuple[int, ...] = (1, 1, 1, 1), per_second: float = 9.0
) -> list[float]:
    """Times from arrival to the end of each answer, in seconds, of requests over four unequal deployments."""
    seconds = 120.0
    clock, chance, order = Clock(), random.Random(7), count()
    servers = {
        "a": Server(4, 0.1, 0.01),
        "b": Server(4, 0.1, 0.01),
        "c": Server(4, 0.2, 0.02),
        "d": Server(4, 0.4, 0.05),
    }
    pool = Pool(tuple(map(Member, (A, B, C, D), weights)), Routing(choose=choose))
    books = [LoadBook(clock) for _ in range(gateways)]
    choosers = [PoolChooser(loads=book, draw=random.Random(place)) for place, book in enumerate(books)]
    events: list[tuple[float, int, str, Any]] = []
    took: list[float] = []

    def at(when: float, kind: str, what: Any = None) -> None:
        heapq.heappush(events, (when, next(order), kind, what))

    def start(name: str, job: Job) -> None:
        servers[name].running += 1
        job.started = clock.now
        at(clock.now + servers[name].takes_s(job.tokens), "end", (name, job))

    begin = clock.now
    when = begin
    while (when := when + chance.expovariate(per_second)) < begin + seconds:
        at(when, "ask", (chance.randrange(gateways), round(chance.uniform(0.2, 1.8) * TOKENS)))
    for tick in range(int(seconds) + 60):
        at(begin + tick, "report")
    while events:
        clock.now, _, kind, what = heapq.heappop(events)
        if kind == "report":
            for book in books:
                book.take([server.report(name) for name, server in servers.items()])
        elif kind == "ask":
            gateway, tokens = what
            choice = choosers[gateway].choose(rig.context(), pool, GenerateRequest(messages=[turn()]))
            job = Job(gateway, Tried(choice.target), tokens, clock.now)
            books[gateway].began(job.attempt)  # type: ignore[arg-type]
            server = servers[choice.target.name]
            if server.running < server.slots:
                start(choice.target.name, job)
            else:
                server.queue.append(job)
        else:
            name, job = what
            server = servers[name]
            server.running -= 1
            took.append(clock.now - job.arrived)
            job.attempt.elapsed_s = clock.now - job.arrived
            job.attempt.first_token_s = job.started - job.arrived + server.prompt_s
            job.attempt.usage = Usage(output_tokens=job.tokens)
            books[job.gateway].ended(job.attempt)  # type: ignore[arg-type]
            if server.queue:
                start(name, server.queue.popleft())
    return took


def p95(times: list[float]) -> float:
    return quantiles(times, n=20)[-1]


@pytest.mark.parametrize("gateways", [1, 8])
def test_on_unequal_deployments_the_least_finish_time_beats_weights(rig, gateways):
    by_weight = simulate(rig, "weighted", gateways=gateways)
    by_time = simulate(rig, "least_finish_time", gateways=gateways)
    assert len(by_time) == len(by_weight) > 900
    assert mean(by_time) < 0.6 * mean(by_weight)
    assert p95(by_time) < 0.6 * p95(by_weight)


def test_weights_that_fit_the_deployments_do_not_beat_it_either(rig):
    fitting = (36, 36, 18, 7)  # slots over seconds per answer, times ten
    by_weight = simulate(rig, "weighted", weights=fitting, per_second=7)
    by_time = simulate(rig, "least_finish_time", per_second=7)
    assert mean(by_time) < mean(by_weight)
    assert p95(by_time) < p95(by_weight)
