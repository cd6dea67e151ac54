"""Splits and leases."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from headrace_gateway.admission.identity import CHOOSE_ARM
from headrace_gateway.admission.keys import SCOPES
from headrace_gateway.arms.leases import Leases
from headrace_gateway.arms.split import POINTS, point, unit
from headrace_gateway.calls import Options
from headrace_gateway.grpc_api.read import read_generate
from headrace_gateway.pipeline import ARM_UNKNOWN, sticky_key
from headrace_kit.errors import BadInput, Forbidden, NotReady
from headrace_kit.rpc import Identity
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message
from headrace_protos.gateway.v1 import messages_pb2 as gateway_pb
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


def fresh(weight, patch):
    return grant(weight, fresh=weight, fresh_json=json.dumps(patch))


def test_a_fresh_baseline_has_as_many_keys_and_loses_none_but_to_the_candidate(table):
    leases = Leases()
    plan = table.models["plain"]
    before: dict[str, str] = {}
    for weight in (500, 2500, 5000, 10_000):
        leases.take(fresh(weight, {"deployment": "large"}) if weight < POINTS else grant(weight))
        now = {f"k{number}": leases.arm(table, plan, f"k{number}").name for number in range(4000)}
        counts = Counter(now.values())
        if weight < POINTS:
            expected = 4000 * weight / POINTS
            assert abs(counts["fresh"] - expected) < 5 * expected**0.5
            assert abs(counts["candidate"] - expected) < 5 * expected**0.5
        assert all(now[key] in (arm, "candidate") for key, arm in before.items() if arm != "baseline")
        assert all(now[key] == arm for key, arm in before.items() if arm == "candidate")
        before = now
    assert counts == {"candidate": 4000}


@pytest.mark.parametrize(("patch", "deployment"), [({"deployment": "large"}, "large"), ({}, "small")])
async def test_a_fresh_baseline_is_served_by_its_own_deployments_and_told_apart(rig, ask, patch, deployment):
    rig.leases.take(fresh(5000, patch))
    arms = {}
    for number in range(40):
        ctx = rig.context()
        await (await rig.pipeline.generate(ctx, ask("plain", end_user=f"u{number}"))).whole()
        arms.setdefault(ctx.outcome.arm, ctx)
    assert set(arms) == {"fresh", "candidate"}, "at half of the keys each there is no other baseline"
    assert arms["fresh"].outcome.deployment == deployment
    event = next(event for event in rig.closed() if event.arm == "fresh")
    assert (event.rollout_id, event.deployment) == ("r1", deployment)


def test_a_fresh_baseline_that_does_not_fit_leaves_the_old_one(table):
    leases = Leases()
    leases.take(fresh(5000, {"deployment": "nowhere"}))
    found = {leases.arm(table, table.models["plain"], f"k{number}").name for number in range(200)}
    assert found == {"candidate", "baseline"}


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


def by_service(rig):
    ctx = rig.context()
    ctx.identity = Identity("gateway", "dev", "service rollout", scopes=frozenset({CHOOSE_ARM}))
    return ctx


@pytest.mark.parametrize(("arm", "deployment"), [("candidate", "large"), ("baseline", "small")])
async def test_a_service_may_ask_for_an_arm_that_nobody_is_on(rig, ask, arm, deployment):
    rig.leases.take(grant(0))
    ctx = by_service(rig)
    await (await rig.pipeline.generate(ctx, ask("plain", options=Options(rollout="r1", arm=arm)))).whole()
    assert (ctx.outcome.arm, ctx.outcome.deployment) == (arm, deployment)
    assert (ctx.rollout_id, ctx.arm) == ("", ""), "it is no outcome of the rollout"
    assert rig.closed()[0].rollout_id == ""


async def test_no_key_may_choose_an_arm_whatever_its_scopes(rig, ask):
    rig.leases.take(grant(5000))
    ctx = rig.context()
    ctx.identity = Identity("gateway", "dev", "k", scopes=SCOPES)
    with pytest.raises(Forbidden) as refused:
        await rig.pipeline.generate(ctx, ask("plain", options=Options(rollout="r1", arm="candidate")))
    assert refused.value.param == "headrace.arm"
    assert CHOOSE_ARM not in SCOPES, "no key can be made with it"


async def test_an_arm_that_was_not_granted_here_is_refused_with_a_code(rig, ask):
    with pytest.raises(NotReady) as refused:
        await rig.pipeline.generate(by_service(rig), ask("plain", options=Options(rollout="r1", arm="candidate")))
    assert refused.value.code == ARM_UNKNOWN


@pytest.mark.parametrize(("rollout", "arm"), [("r1", ""), ("", "candidate"), ("r1", "other")])
def test_arms_are_named_with_their_rollout(rollout, arm):
    message = Message(role="user", parts=[ContentPart(text="hello")])
    options = gateway_pb.HeadraceOptions(rollout=rollout, arm=arm)
    request = gateway_pb.GenerateRequest(model="plain", messages=[message], headrace=options)
    with pytest.raises(BadInput):
        read_generate(request, stream=False)
