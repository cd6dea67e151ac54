"""Pools: which deployment each try goes to."""

from __future__ import annotations

from collections import Counter

import pytest

from headrace_gateway.ports import HungUp
from headrace_gateway.resilience.retry import Tries, Work
from headrace_gateway.routing.choose import PoolChooser
from headrace_gateway.routing.plan import Member, Pool, Target, single
from headrace_kit.config.deployments import Price
from headrace_kit.errors import BadInput, Busy, NotReady, Upstream


def target(name: str) -> Target:
    return Target(name, "triton-scripted", Price(), 100, 1000)


A, B, C, SPARE = map(target, ("a", "b", "c", "spare"))


def test_weights_are_exact_over_every_round_and_spread_within_it(rig):
    pool, chooser, ctx = Pool((Member(A, 5), Member(B, 2), Member(C, 1))), PoolChooser(), rig.context()
    picks = [chooser.choose(ctx, pool, None).target.name for _ in range(8 * 25)]
    for start in range(0, len(picks), 8):
        assert Counter(picks[start : start + 8]) == {"a": 5, "b": 2, "c": 1}
    assert "aaaa" not in "".join(picks)


def test_what_is_not_healthy_is_passed_over_and_its_share_goes_by_the_other_weights(rig):
    pool, chooser = Pool((Member(A, 5), Member(B, 2), Member(C, 1))), PoolChooser(lambda _, asked: asked is not A)
    picks = Counter(chooser.choose(rig.context(), pool, None).target.name for _ in range(30))
    assert picks == {"b": 20, "c": 10}
    assert PoolChooser(lambda _ctx, _asked: False).choose(rig.context(), pool, None) is None


def test_a_deployment_that_was_tried_comes_again_only_when_no_other_is_left(rig):
    pool, chooser, ctx = Pool((Member(A, 9), Member(B, 1))), PoolChooser(), rig.context()
    assert chooser.choose(ctx, pool, None, tried=[A]).target is B
    assert chooser.choose(ctx, pool, None, tried=[A, B]).target in (A, B)
    assert chooser.choose(ctx, pool, None, exclude=[A, B]) is None


def tries(rig, pool, attempts, *fallbacks):
    return Tries(PoolChooser(), rig.health, work(rig, pool, attempts, *fallbacks), None)


def work(rig, pool, attempts, *fallbacks):
    ctx = rig.context()
    ctx.plan = rig.table.models["sturdy"]
    return Work(ctx, 0, pool, attempts, tuple(map(single, fallbacks)))


def test_a_retry_goes_to_another_deployment_of_the_pool_then_to_the_fallbacks(rig):
    order = tries(rig, Pool((Member(A), Member(B))), 3, SPARE)
    this, seen = order.first(), []
    while this is not None:
        seen.append((this.number, this.target.name, this.wait_s > 0))
        this = order.after(this, Upstream("broke"))
    assert [number for number, _, _ in seen] == [0, 1, 2, 3]
    assert {name for _, name, _ in seen[:2]} == {"a", "b"}
    assert seen[3][1] == "spare"
    assert [waits for _, _, waits in seen] == [False, True, True, False]


def test_full_deployments_do_not_use_up_the_tries(rig):
    order = tries(rig, Pool((Member(A), Member(B), Member(C))), 1, SPARE)
    this, seen = order.first(), []
    while this is not None:
        seen.append((this.target.name, this.wait_s))
        this = order.after(this, Busy("full"))
    assert sorted(name for name, _ in seen[:3]) == ["a", "b", "c"]
    assert seen[3:] == [("spare", 0.0)]
    assert not any(wait_s for _, wait_s in seen)


def test_replicas_that_hang_up_as_they_leave_do_not_use_up_the_tries(rig):
    order = tries(rig, Pool((Member(A),)), 2, SPARE)
    this, seen = order.first(), []
    while this is not None:
        seen.append(this.target.name)
        this = order.after(this, HungUp("the engine ended the call"))
    assert seen == ["a"] * 4 + ["spare"]


def test_what_the_caller_got_wrong_is_not_tried_elsewhere(rig):
    order = tries(rig, Pool((Member(A), Member(B))), 3, SPARE)
    assert order.after(order.first(), BadInput("no")) is None


def test_where_no_deployment_can_be_asked_the_error_says_so(rig):
    order = Tries(PoolChooser(lambda _ctx, _asked: False), rig.health, work(rig, single(A), 2), None)
    with pytest.raises(NotReady, match="no deployment of this model can be asked now"):
        order.first()
