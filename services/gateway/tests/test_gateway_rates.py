"""Requests and tokens a minute."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_gateway.admission.rates import Bucket, RateBook
from headrace_gateway.admission.shares import Sharer, share
from headrace_gateway.context import Arrival
from headrace_gateway.routing.table import compile_table
from headrace_kit.config import Snapshot, parse
from headrace_kit.config.tenants import Limits
from headrace_kit.errors import Busy

from .conftest import CONFIG


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_a_minute_and_says_when_there_is_more():
    bucket = Bucket(3)
    assert [bucket.take(1, 0) for _ in range(4)] == [0, 0, 0, 20]
    assert bucket.take(1, 19.5) == pytest.approx(0.5)
    assert bucket.take(1, 20) == 0
    assert bucket.take(1, 20) == pytest.approx(20)
    assert (bucket.left(40), bucket.left(100), bucket.state(40)[1]) == (1, 3, 40)


def test_more_than_it_holds_is_taken_when_it_is_full_and_owed():
    bucket = Bucket(100)
    assert bucket.take(250, 0) == 0
    assert bucket.take(1, 0) == pytest.approx(90.6)
    assert (bucket.left(60), bucket.left(120)) == (0, 50)
    assert bucket.take(250, 120) == pytest.approx(30)


def test_an_estimate_of_more_than_it_holds_is_not_free_afterwards():
    bucket = Bucket(10)
    for start in (0, 120, 240):
        assert bucket.take(1000, start) == 0
        bucket.correct(-980, start)  # it was twenty
        assert bucket.take(1000, start) == pytest.approx(120)


@pytest.mark.parametrize("replicas", [1, 2, 3, 7])
def test_one_request_a_minute_is_one_a_minute_over_any_number_of_replicas(replicas):
    buckets = [Bucket(1) for _ in range(replicas)]
    for bucket in buckets:
        bucket.take_part(1 / replicas, 0)
    minutes = 120
    served = sum(bucket.take(1, now) == 0 for now in range(minutes * 60) for bucket in buckets)
    # Each replica begins with a full bucket, so the first few come together.
    assert minutes <= served <= minutes + replicas


def test_the_truth_replaces_the_estimate():
    bucket = Bucket(100)
    bucket.take(80, 0)
    bucket.correct(-70, 0)
    assert bucket.left(0) == 90
    bucket.correct(110, 0)
    assert bucket.left(0) == 0
    assert bucket.take(1, 0) == pytest.approx(12.6)


def test_what_is_in_a_bucket_or_owed_stays_when_its_part_changes():
    bucket = Bucket(60)
    bucket.take_part(0.5, 0)
    assert bucket.left(0) == 30
    bucket.take(20, 0)
    bucket.take_part(1, 0)
    assert (bucket.left(0), bucket.left(10)) == (10, 20)
    bucket.take_part(0.1, 10)
    assert bucket.state(10) == (6, 0)
    bucket.correct(16, 10)
    bucket.take_part(1, 10)
    assert bucket.take(1, 10) == pytest.approx(11)


def test_replicas_together_have_what_the_limit_says():
    demand = {"one": 30.0, "two": 10.0, "three": 0.0}
    parts = [share(name, demand) for name in demand]
    assert sum(parts) == pytest.approx(1)
    assert parts[0] > parts[1] > parts[2] > 0
    assert share("one", {"one": 0.0, "two": 0.0}) == 0.5


class FakeRates:
    """Fulfils `RateStore`."""

    def __init__(self):
        self.told = {}

    async def tell(self, holder, demand):
        for tenant, weight in demand.items():
            self.told.setdefault(tenant, {})[holder] = weight
        return {tenant: dict(self.told[tenant]) for tenant in demand}


async def test_shares_follow_demand():
    clock, store = Clock(), FakeRates()
    books = [RateBook(clock), RateBook(clock)]
    sharers = [Sharer(book, store, name) for book, name in zip(books, ("a", "b"), strict=True)]
    limits = Limits(requests_per_minute=60)
    for sharer in sharers:
        await sharer.step()
    assert [book.replicas for book in books] == [1, 2]
    for _ in range(10):
        books[0].enter("dev", limits)
    books[1].enter("dev", limits)
    for _ in range(2):
        for sharer in sharers:
            await sharer.step()
    shares = [book.all()["dev"].requests.share for book in books]
    assert shares[0] > shares[1] > 0.05
    assert sum(shares) < 1.01


def test_limits_that_change_keep_what_was_used():
    clock = Clock()
    book = RateBook(clock)
    first = Limits(requests_per_minute=2, tokens_per_minute=100)
    book.enter("dev", first)
    book.all()["dev"].take_tokens(60)
    book.enter("dev", Limits(requests_per_minute=2, tokens_per_minute=200))
    with pytest.raises(Busy) as caught:
        book.enter("dev", Limits(requests_per_minute=2))
    assert caught.value.retry_after_s == pytest.approx(30)
    assert book.all()["dev"].tokens is None
    assert book.enter("dev", Limits()) is None


@pytest.fixture
def limited(rig):
    text = CONFIG.replace("concurrent_requests: 3", "requests_per_minute: 2, tokens_per_minute: 5000")
    rig.table = compile_table(Snapshot(parse(text), Path("headrace.yaml")))
    rig.clock = Clock()
    return rig


async def visit(rig, key="hr_dev"):
    made = rig.door.open(Arrival("POST /v1/chat/completions", authorization=f"Bearer {key}"))
    try:
        await rig.door.admit(made)
    except Busy as error:
        made.leave(429, error)
        raise
    return made


async def test_the_door_refuses_what_comes_too_early(limited):
    for _ in range(2):
        (await visit(limited)).leave(200)
    with pytest.raises(Busy, match="2 requests a minute") as caught:
        await visit(limited)
    assert caught.value.retry_after_s == pytest.approx(30)
    limited.clock.now += 30
    (await visit(limited)).leave(200)


async def test_tokens_are_counted_by_estimate_and_then_by_truth(limited, ask):
    inside = await visit(limited)
    answer = await limited.pipeline.generate(inside.ctx, ask("plain"))
    bucket = inside.ctx.rates.tokens
    assert bucket.left(limited.clock()) < 5000 - 1024
    _, usage = await answer.whole()
    inside.leave(200)
    assert bucket.left(limited.clock()) == 5000 - usage.input_tokens - usage.output_tokens
    many = await visit(limited)
    call = ask("plain")
    call.sampling.max_tokens = 6000
    bucket.correct(100, limited.clock())
    with pytest.raises(Busy, match="5000 tokens a minute"):
        await limited.pipeline.generate(many.ctx, call)
    many.leave(429)


@pytest.fixture
def unhurried(rig):
    """The gateway with a clock that stands."""
    rig.clock = Clock()
    return rig


async def test_a_key_has_limits_of_its_own(unhurried):
    inside = await visit(unhurried, "hr_limited")
    with pytest.raises(Busy, match="this key has 1 requests in work") as caught:
        await visit(unhurried, "hr_limited")
    assert caught.value.code == "concurrency_limit_exceeded"
    (await visit(unhurried)).leave(200)  # its team's other keys have theirs
    inside.leave(200)
    (await visit(unhurried, "hr_limited")).leave(200)
    with pytest.raises(Busy, match="this key has had its 2 requests a minute") as caught:
        await visit(unhurried, "hr_limited")
    assert caught.value.retry_after_s == pytest.approx(30)
    unhurried.clock.now += 30
    (await visit(unhurried, "hr_limited")).leave(200)
    assert unhurried.in_flight.total == 0


async def test_a_keys_tokens_are_counted_beside_its_teams(limited, ask):
    inside = await visit(limited, "hr_limited")
    answer = await limited.pipeline.generate(inside.ctx, ask("plain"))
    own, team = (limited.rates.all()[name].tokens for name in ("key/k-lim", "dev"))
    assert inside.ctx.rates.tokens is own  # the nearer to its end
    assert own.left(limited.clock()) == team.left(limited.clock()) - 3500
    _, usage = await answer.whole()
    inside.leave(200)
    used = usage.input_tokens + usage.output_tokens
    assert (own.left(limited.clock()), team.left(limited.clock())) == (1500 - used, 5000 - used)


async def test_what_the_team_may_not_take_is_not_taken_of_the_key(limited):
    for _ in range(2):
        (await visit(limited)).leave(200)
    with pytest.raises(Busy, match="your team has had its 2 requests"):
        await visit(limited, "hr_limited")
    assert limited.rates.all()["key/k-lim"].requests.left(limited.clock()) == 2
    limited.clock.now += 60
    inside = await visit(limited, "hr_limited")
    limited.rates.all()["dev"].tokens.take(5000, limited.clock())
    with pytest.raises(Busy, match="your team has had its 5000 tokens"):
        inside.ctx.rates.take_tokens(1000)
    assert limited.rates.all()["key/k-lim"].tokens.left(limited.clock()) == 1500
    inside.leave(429)
