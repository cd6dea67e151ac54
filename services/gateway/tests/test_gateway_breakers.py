"""Which deployments are left alone, for how long, and how many further tries there are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_gateway.fakes import Script
from headrace_gateway.resilience.allowance import Allowance
from headrace_gateway.resilience.breaker import CLOSED, HALF_OPEN, OPEN, CircuitBreaker, Window
from headrace_gateway.resilience.latencies import FirstTokens
from headrace_gateway.routing.plan import Member, Pool, StagePlan, compile_target
from headrace_kit.config.resilience import Breaker, Outliers
from headrace_kit.errors import BadInput, Busy, DeadlineExceeded, NotReady, Upstream

POLICY = Breaker(consecutive_failures=3, failure_share="50%", least_attempts=10, window="10s", open_for="5s")
GONE = Upstream("gone")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def ask_once(rig, ask, model="sturdy"):
    """The deployments that were asked for one request, and the error that it ended with."""
    before = len(rig.engine.calls)
    error = None
    try:
        answer = await rig.pipeline.generate(rig.context(), ask(model))
        await answer.whole()
    except Exception as caught:
        error = caught
    return [call.deployment for call in rig.engine.calls[before:]], error


def policy(rig, model="sturdy", **changes):
    """Change what a model says about failures."""
    plan = rig.table.models[model]
    rig.table.models[model] = replace(plan, resilience=plan.resilience.model_copy(update=changes))


def sample(rig, name, **labels):
    return rig.registry.get_sample_value(f"headrace_gateway_{name}", labels)


def test_a_breaker_opens_after_failures_in_a_row_and_closes_after_one_good_probe():
    breaker = CircuitBreaker()
    assert [breaker.ended(POLICY, 0, failed=True, probe=False) for _ in range(3)] == ["", "", "consecutive"]
    assert breaker.state == OPEN and not breaker.allows(4.9)
    assert breaker.allows(5.0) and breaker.began(5.0)
    assert breaker.state == HALF_OPEN and not breaker.allows(5.0), "one probe at a time"
    assert not breaker.ended(POLICY, 6, failed=False, probe=True)
    assert breaker.state == CLOSED and breaker.allows(6)


def test_a_success_between_breaks_a_row():
    breaker = CircuitBreaker()
    for failed in (True, True, False, True, True):
        breaker.ended(POLICY, 0, failed=failed, probe=False)
    assert breaker.state == CLOSED


def test_a_failed_probe_opens_for_twice_as_long_up_to_eight_times():
    breaker, now = CircuitBreaker(), 0.0
    for _ in range(3):
        breaker.ended(POLICY, now, failed=True, probe=False)
    for times in (1, 2, 4, 8, 8):
        assert not breaker.allows(now + 5 * times - 0.01)
        now += 5 * times
        assert breaker.began(now)
        assert breaker.ended(POLICY, now, failed=True, probe=True) == "probe"


def test_a_probe_that_tells_nothing_leaves_room_for_the_next():
    breaker = CircuitBreaker()
    breaker.open(POLICY, 0)
    breaker.began(5)
    breaker.ended(POLICY, 5, failed=None, probe=True)
    assert breaker.state == HALF_OPEN and breaker.allows(5)


def test_a_share_is_judged_only_where_there_are_enough_attempts():
    policy = POLICY.model_copy(update={"consecutive_failures": 1000})
    breaker = CircuitBreaker()
    found = [breaker.ended(policy, 0, failed=bool(number % 2), probe=False) for number in range(10)]
    assert found == [""] * 9 + ["failures"]


@given(
    st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=80),
    st.floats(1, 60),
)
def test_a_window_counts_what_is_young_and_nothing_that_is_old(steps, length_s):
    window, now, seen = Window(), 500.0, []
    for wait_s, failed in steps:
        now += wait_s
        window.add(failed, now, length_s)
        seen.append((now, failed))
    attempts, failures = window.counts(now, length_s)
    least = [failed for at, failed in seen if at > now - length_s * 0.9 + 1e-6]
    most = [failed for at, failed in seen if at > now - length_s - 1e-6]
    assert len(least) <= attempts <= len(most)
    assert sum(least) <= failures <= sum(most)


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=200), st.floats(0, 1), st.floats(0, 5))
def test_an_allowance_never_gives_more_than_was_put_in(steps, share, per_second):
    now = 0.0
    allowance, spent, requests = Allowance(now, per_second * 10), 0, 0
    for wait_s, request in steps:
        now += wait_s
        if request:
            requests += 1
            allowance.earn(share)
        spent += allowance.spend(now, per_second)
        assert spent <= requests * share + per_second * (10 + now) + 1e-6


def test_the_p95_is_known_from_twenty_first_tokens_on():
    times = FirstTokens()
    for number in range(19):
        times.add(number / 10, 0)
    assert times.p95() is None
    times.add(1.9, 0)
    assert times.p95() == pytest.approx(1.9)
    assert len(times.fresh(30)) == 20 and not times.fresh(61)


async def test_an_open_breaker_sends_requests_straight_to_the_fallback_and_a_probe_brings_it_back(rig, ask):
    rig.clock = Clock()
    rig.engine.scripts["small"] = [Script([], error=GONE)] * 5 + [Script(["back"])]
    assert (await ask_once(rig, ask))[0] == ["small", "small", "small", "spare"]
    # The fifth failure in a row opens it, so its third try is not made.
    assert (await ask_once(rig, ask))[0] == ["small", "small", "spare"]
    assert sample(rig, "breaker_state", model="sturdy", deployment="small") == OPEN
    assert sample(rig, "ejections_total", model="sturdy", deployment="small", reason="consecutive") == 1
    assert (await ask_once(rig, ask)) == (["spare"], None)
    rig.clock.now += 5
    assert (await ask_once(rig, ask)) == (["small"], None)
    assert sample(rig, "breaker_state", model="sturdy", deployment="small") == CLOSED


async def test_the_last_deployment_is_asked_however_ill_it_is(rig, ask):
    rig.clock = Clock()
    rig.engine.scripts["small"] = [Script([], error=GONE)] * 6 + [Script(["well"])]
    for _ in range(6):
        assert (await ask_once(rig, ask, "plain"))[0] == ["small"]
    assert (await ask_once(rig, ask, "plain")) == (["small"], None)


@pytest.mark.parametrize("error", [BadInput("no"), Busy("full", retry_after_s=1)])
async def test_what_is_not_the_deployments_fault_opens_nothing(rig, ask, error):
    rig.engine.scripts["small"] = [Script([], error=error)]
    for _ in range(30):
        await ask_once(rig, ask, "plain")
    assert sample(rig, "breaker_state", model="plain", deployment="small") is None


async def test_silence_until_the_models_own_limit_is_a_failure_and_a_callers_haste_is_not(rig, ask):
    rig.engine.scripts["small"] = [Script([], error=DeadlineExceeded("late"))]
    for _ in range(30):
        hasty = rig.context(remaining_s=1.0)
        with pytest.raises(DeadlineExceeded):
            await rig.pipeline.generate(hasty, ask("plain"))
    assert sample(rig, "breaker_state", model="plain", deployment="small") is None
    for _ in range(5):
        with pytest.raises(DeadlineExceeded):
            await rig.pipeline.generate(rig.context(), ask("plain"))
    assert sample(rig, "breaker_state", model="plain", deployment="small") == OPEN


async def served(rig, ask, model, times):
    """How many requests each deployment got."""
    return Counter([deployments[0] for deployments, _ in [await ask_once(rig, ask, model) for _ in range(times)]])


def pooled(rig, **changes):
    """A model with a pool of two."""
    plan = rig.table.models["sturdy"]
    members = tuple(Member(compile_target(name, rig.table.config)) for name in ("small", "spare"))
    rig.table.models["sturdy"] = replace(plan, stages=(StagePlan(Pool(members), None),), fallbacks=())
    policy(rig, **changes)


async def test_a_deployment_much_slower_than_its_pool_is_left_alone_and_then_probed(rig, ask):
    rig.clock = Clock()
    pooled(rig)
    plan = rig.table.models["sturdy"]
    await served(rig, ask, "sturdy", 2)
    for name, seconds in (("small", 2.0), ("spare", 0.1)):
        for _ in range(20):
            rig.health.known(plan, name).first_tokens.add(seconds, rig.clock.now)
    rig.clock.now += 1
    await served(rig, ask, "sturdy", 1)
    assert sample(rig, "ejections_total", model="sturdy", deployment="small", reason="slow") == 1
    assert await served(rig, ask, "sturdy", 10) == {"spare": 10}
    rig.clock.now += 5
    assert (await served(rig, ask, "sturdy", 10))["small"] == 5, "the probe went well"


async def test_a_deployment_that_fails_more_than_its_pool_is_left_alone(rig, ask):
    rig.clock = Clock()
    pooled(rig)
    rig.engine.scripts["small"] = [Script([], error=GONE), Script(), Script()] * 20 + [Script()]
    for _ in range(60):
        rig.clock.now += 0.1
        await ask_once(rig, ask)
    assert sample(rig, "ejections_total", model="sturdy", deployment="small", reason="errors") == 1


async def test_no_more_of_a_pool_is_left_out_than_it_may(rig, ask):
    rig.clock = Clock()
    pooled(rig, outliers=Outliers(most_out="40%"))
    plan = rig.table.models["sturdy"]
    await served(rig, ask, "sturdy", 2)
    for name, seconds in (("small", 2.0), ("spare", 0.1)):
        for _ in range(20):
            rig.health.known(plan, name).first_tokens.add(seconds, rig.clock.now)
    rig.clock.now += 1
    assert await served(rig, ask, "sturdy", 10) == {"small": 5, "spare": 5}


async def test_retries_stop_where_the_budget_is_spent_and_fallbacks_do_not(rig, ask):
    rig.clock = Clock()
    policy(rig, breaker=None)
    rig.engine.scripts["small"] = [Script([], error=GONE), Script(["well"])] * 40 + [Script([], error=GONE)]
    asked = [await ask_once(rig, ask) for _ in range(60)]
    retried = [deployments for deployments, _ in asked if deployments[:2] == ["small", "small"]]
    assert len(retried) <= 10 + 60 * 0.2
    assert all(error is None for _, error in asked), "each was served by a retry or by the fallback"
    assert sample(rig, "retries_total", model="sturdy", outcome="refused") > 0


async def test_a_deployment_that_wants_more_time_than_there_is_is_not_asked_again(rig, ask):
    rig.engine.scripts["small"] = [Script([], error=NotReady("loading", retry_after_s=30))]
    assert (await ask_once(rig, ask))[0] == ["small", "spare"]


async def test_a_pause_beyond_the_deadline_is_not_begun(rig, ask):
    rig.engine.scripts["small"] = [Script([], error=NotReady("loading", retry_after_s=1.5))]
    answer = await rig.pipeline.generate(rig.context(remaining_s=1.0), ask("sturdy"))
    await answer.whole()
    assert [call.deployment for call in rig.engine.calls] == ["small", "spare"]
