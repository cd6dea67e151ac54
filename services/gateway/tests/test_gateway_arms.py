"""Splits and leases."""

from __future__ import annotations

import json

import pytest

from headrace_gateway.arms.leases import Leases
from headrace_gateway.arms.split import POINTS, point, unit
from headrace_gateway.calls import Options
from headrace_gateway.pipeline import sticky_key
from headrace_kit.rpc import Identity
from headrace_protos.rollout.v1.messages_pb2 import Grant, Split


def grant(weight, candidate=None, **more):
    patch = json.dumps(candidate or {"deployment": "large"})
    split = Split(rollout_id="r1", model="plain", salt="s", weight=weight, candidate_json=patch, **more)
    return Grant(lease_ms=15_000, splits=[split])


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_split_is_exact_within_chance_and_monotone():
    keys = [f"user-{number}" for number in range(20_000)]
    points = [point("salt", key) for key in keys]
    assert min(points) >= 0 and max(points) < POINTS
    for weight in (100, 2500, 5000, 9900):
        share = sum(at < weight for at in points) / len(points)
        expected = weight / POINTS
        # Five standard deviations of a fair split; the keys are fixed, so this never changes.
        assert abs(share - expected) < 5 * (expected * (1 - expected) / len(keys)) ** 0.5


def test_another_salt_is_another_split():
    keys = [f"user-{number}" for number in range(2000)]
    same = sum((point("a", key) < 5000) == (point("b", key) < 5000) for key in keys)
    assert 850 < same < 1150
    assert unit("a", "user-1") != unit("b", "user-1")
    assert "user" not in unit("a", "user-1")


@pytest.mark.parametrize(("weight", "arms"), [(0, {"baseline"}), (10_000, {"candidate"})])
def test_the_ends_of_the_scale_are_exact(table, weight, arms):
    leases = Leases()
    leases.take(grant(weight))
    found = {leases.arm(table, table.models["plain"], f"k{number}").name for number in range(500)}
    assert found == arms


def test_a_key_stays_on_its_arm_and_the_candidate_is_the_patched_model(table):
    leases = Leases()
    leases.take(grant(5000))
    plan = table.models["plain"]
    arms = {}
    for number in range(200):
        arm = leases.arm(table, plan, f"k{number}")
        assert arm == leases.arm(table, plan, f"k{number}")
        arms[arm.name] = arm
    assert arms["candidate"].plan.stages[0].pool.targets[0].name == "large"
    assert arms["candidate"].plan.attempts == plan.attempts
    assert arms["baseline"].plan is plan
    assert arms["candidate"].rollout_id == arms["baseline"].rollout_id == "r1"


def test_a_lapsed_lease_is_the_baseline_again(table):
    clock = Clock()
    leases = Leases(clock)
    plan = table.models["plain"]
    assert leases.arm(table, plan, "k").name == ""
    leases.take(grant(10_000))
    assert leases.arm(table, plan, "k").name == "candidate"
    clock.now += 14.9
    assert leases.arm(table, plan, "k").name == "candidate"
    clock.now += 0.2
    assert leases.arm(table, plan, "k").name == "" and leases.arm(table, plan, "k").plan is plan
    leases.take(grant(10_000))
    assert leases.arm(table, plan, "k").name == "candidate"


@pytest.mark.parametrize(
    "patch", [{"deployment": "nowhere"}, {"deployment": 5}, {"foo": 1}, {"deployment": "minilm", "guardrails": "no"}]
)
def test_a_candidate_that_does_not_fit_leaves_the_baseline(table, patch):
    leases = Leases()
    leases.take(grant(10_000, patch))
    arm = leases.arm(table, table.models["plain"], "k")
    assert (arm.name, arm.plan) == ("baseline", table.models["plain"])


def test_models_without_a_split_are_not_touched(table):
    leases = Leases()
    leases.take(grant(10_000))
    assert leases.arm(table, table.models["assistant"], "k").name == ""


def test_what_an_arm_sticks_to(rig, ask):
    ctx = rig.context()
    by_conversation = sticky_key(ctx, ask("plain", options=Options(conversation_id="c", user="u")))
    assert by_conversation == sticky_key(rig.context(), ask("plain", options=Options(conversation_id="c")))
    by_user = sticky_key(ctx, ask("plain", options=Options(user="u")))
    assert by_user == sticky_key(ctx, ask("plain", end_user="u")) != by_conversation
    asserted = rig.context()
    asserted.identity = Identity("gateway", "dev", "k", "u")
    assert sticky_key(asserted, ask("plain")) == by_user
    assert sticky_key(ctx, ask("plain")) == ctx.request_id
    assert sticky_key(rig.context("other"), ask("plain", end_user="u")) != by_user


async def test_the_arm_reaches_event_and_outcome(rig, ask):
    rig.leases.take(grant(10_000))
    ctx = rig.context()
    await (await rig.pipeline.generate(ctx, ask("plain", end_user="u"))).whole()
    event = rig.closed()[0]
    assert (event.arm, event.rollout_id, event.deployment, event.unit) == (
        "candidate",
        "r1",
        "large",
        unit("s", "dev\0u\0u"),
    )
    assert ctx.outcome.arm == "candidate"
