"""Rollouts that are judged by their outcomes: on, hold, back; each outcome counted once, whoever dies when."""

from __future__ import annotations

import json
import random
from datetime import datetime

import pytest
from pydantic import ValidationError

from headrace_kit.config.rollouts import Rollout
from headrace_kit.errors import BadInput, Conflict, NotReady
from headrace_protos.common.v1.event_pb2 import RequestEvent
from headrace_rollout.domain.records import State, canonical
from headrace_rollout.domain.verdicts import Action

ERRORS = {"errors": {"max_increase": "5%"}, "failures": None, "total": None, "missing_after": "60s"}
TWO = [{"weight": "50%", "at_least": "60s"}, {"weight": "100%", "at_least": "10s"}]


def swap(steps=None, analysis=None, **more) -> dict:
    return {"candidate": {"deployment": "large"}, "steps": steps or TWO, "analysis": analysis or ERRORS, **more}


class Traffic:
    """Finished events of one gateway, each of another person."""

    def __init__(self, world, id_: str, seed: int = 1) -> None:
        self.world, self.id = world, id_
        self.random = random.Random(seed)
        self.sequence = 0
        self.sent: list[bytes] = []

    def event(self, **more) -> RequestEvent:
        self.sequence += 1
        weight = self.world.record(self.id).weight
        arm = more.get("arm") or ("candidate" if self.random.random() < weight / 10_000 else "baseline")
        event = RequestEvent(
            kind=RequestEvent.KIND_FINISHED,
            log_id="log-1",
            sequence=self.sequence,
            request_id=f"r{self.sequence}",
            tenant="dev",
            unit=f"u{self.sequence}",
            model="assistant",
            rollout_id=self.id,
            arm=arm,
            weight=weight,
            first_token_us=100_000,
            ended_us=200_000,
            cost_nano_usd=1000,
            segment={"tenant": "dev"},
        )
        for name, value in more.items():
            setattr(event, name, value)
        event.time.FromDatetime(self.world.store.time)
        return event

    def send(self, event: RequestEvent) -> None:
        payload = event.SerializeToString()
        self.sent.append(payload)
        self.world.events.add(payload, self.world.store.time.timestamp())

    def flow(self, count: int, candidate_fails: float = 0.0, baseline_fails: float = 0.0) -> None:
        for _ in range(count):
            event = self.event()
            share = candidate_fails if event.arm == "candidate" else baseline_fails
            event.failure = "error" if self.random.random() < share else ""
            self.send(event)


async def begun(world, spec) -> Traffic:
    id_ = world.asks(spec)
    await world.controller.tick()
    return Traffic(world, id_)


async def flow(world, traffic, seconds: int, per_second: int = 10, **law) -> None:
    for _ in range(seconds):
        if world.record(traffic.id).state is not State.RUNNING:
            return
        traffic.flow(per_second, **law)
        await world.pass_time(1, look_every_s=1)


def decisions(world, id_):
    return [entry for entry in world.store.decisions if entry.rollout_id == id_]


async def test_a_good_candidate_promotes_itself(world):
    traffic = await begun(world, swap())
    await flow(world, traffic, 400)
    record = world.record(traffic.id)
    assert record.state is State.PROMOTED and record.overlay
    assert [entry.action for entry in decisions(world, traffic.id)][-2:] == [Action.ADVANCE, Action.PROMOTE]
    advance = next(entry for entry in decisions(world, traffic.id) if entry.action is Action.ADVANCE)
    [verdict] = advance.verdicts
    assert (verdict["metric"], verdict["state"]) == ("errors", "within")
    assert verdict["high"] <= verdict["margin"] and verdict["n_candidate"] > 20


async def test_a_bad_candidate_is_rolled_back_at_once_with_its_numbers(world):
    traffic = await begun(world, swap())
    await flow(world, traffic, 60, candidate_fails=0.5)
    record = world.record(traffic.id)
    assert record.state is State.ROLLED_BACK
    assert "beyond its margin: errors" in record.reason
    assert world.weights == {}
    last = decisions(world, traffic.id)[-1]
    assert (last.action, last.step) == (Action.ROLL_BACK, 0)
    assert last.verdicts[0]["state"] == "beyond" and last.verdicts[0]["evidence"] >= 1
    world.asks(None)
    await world.controller.tick()
    world.asks(swap())
    await world.pass_time(5)
    assert world.record(traffic.id).state is State.ROLLED_BACK, "an id that was rolled back never runs again"


async def test_a_step_waits_for_its_metrics_whatever_the_time(world):
    traffic = await begun(world, swap())
    await flow(world, traffic, 90, per_second=0)
    record = world.record(traffic.id)
    assert (record.state, record.step) == (State.RUNNING, 0)
    assert "errors" in record.holds
    assert [entry.action for entry in decisions(world, traffic.id)] == [Action.HOLD], "told once, not at every look"


async def test_nothing_heard_holds_and_after_the_limit_rolls_back(world):
    traffic = await begun(world, swap(analysis=ERRORS | {"missing_limit": "100s"}))
    await flow(world, traffic, 150, per_second=0)
    assert world.record(traffic.id).state is State.RUNNING
    await flow(world, traffic, 60, per_second=0)
    record = world.record(traffic.id)
    assert record.state is State.ROLLED_BACK
    assert "nothing was known of errors for 100 s" in record.reason


@pytest.mark.parametrize("jump_s", [-7200, 86_400])
async def test_a_jump_of_the_clock_is_neither_time_served_nor_silence(world, jump_s):
    traffic = await begun(world, swap(analysis=ERRORS | {"missing_limit": "100s"}))
    await flow(world, traffic, 30, per_second=5)
    world.store.pass_time(jump_s)
    await flow(world, traffic, 20, per_second=5)
    record = world.record(traffic.id)
    assert (record.state, record.step) == (State.RUNNING, 0)
    await flow(world, traffic, 400)
    assert world.record(traffic.id).state is State.PROMOTED


async def test_after_at_most_it_holds_and_then_rolls_back(world):
    steps = [{"weight": "50%", "at_least": "10s", "at_most": "30s"}, {"weight": "100%"}]
    traffic = await begun(world, swap(steps, hold="40s"))
    await flow(world, traffic, 40, per_second=0)
    assert "at_most of 30 s has passed" in world.record(traffic.id).holds
    assert [entry.action for entry in decisions(world, traffic.id)] == [Action.HOLD, Action.HOLD]
    await flow(world, traffic, 40, per_second=0)
    assert world.record(traffic.id).state is State.ROLLED_BACK
    assert "nobody has helped it on" in world.record(traffic.id).reason


async def test_hits_shadows_strangers_and_the_last_step_do_not_count(world):
    traffic = await begun(world, swap())
    for more in ({"cache": "hit"}, {"shadow": True}, {"rollout_id": "other"}, {"arm": "x"}, {"weight": 10_000}):
        for _ in range(100):
            traffic.send(traffic.event(**{"arm": "candidate", "failure": "error"} | more))
    traffic.send(RequestEvent(kind=RequestEvent.KIND_CLOSED, rollout_id=traffic.id, arm="candidate", error_code="x"))
    world.events.add(b"\xff no event", world.store.time.timestamp())
    await world.pass_time(5, look_every_s=1)
    [verdict] = (await world.operations.verdicts([world.record(traffic.id)]))[traffic.id]
    assert (verdict["n_baseline"], verdict["n_candidate"]) == (0, 0)


async def counts(world, id_):
    """After the next save: numbers of outcomes that were counted."""
    await world.pass_time(3, look_every_s=1)
    [verdict] = (await world.operations.verdicts([world.record(id_)]))[id_]
    return verdict["n_baseline"] + verdict["n_candidate"]


async def test_each_outcome_counts_once_however_often_it_is_shipped(world):
    traffic = await begun(world, swap())
    traffic.flow(50)
    await world.pass_time(1)
    for payload in traffic.sent[10:40]:
        world.events.add(payload, world.store.time.timestamp())
    traffic.flow(50)
    assert await counts(world, traffic.id) == 100


async def test_what_the_stream_had_lost_counts_when_it_comes_again(world):
    traffic = await begun(world, swap())
    traffic.flow(10)
    await world.pass_time(1)
    lost = [traffic.event() for _ in range(5)]
    traffic.flow(10)
    await world.pass_time(1)
    for event in lost:
        traffic.send(event)
    for payload in traffic.sent[:20]:
        world.events.add(payload, world.store.time.timestamp())
    assert await counts(world, traffic.id) == 25


@pytest.mark.parametrize("every", [1, 2, 3, 7])
async def test_a_controller_killed_at_any_moment_loses_and_repeats_nothing(world, every):
    traffic = await begun(world, swap([{"weight": "50%", "at_least": "1h"}, {"weight": "100%"}]))
    for second in range(21):
        traffic.flow(5)
        if second % every == 0:
            world.controller = world.new_controller()
        await world.pass_time(1, look_every_s=1)
    assert await counts(world, traffic.id) == 105


async def test_an_analysis_of_another_version_begins_anew(world):
    traffic = await begun(world, swap([{"weight": "50%", "at_least": "1h"}, {"weight": "100%"}]))
    traffic.flow(50)
    assert await counts(world, traffic.id) == 50
    world.store.kept[0].analyses[traffic.id]["version"] = -1
    world.controller = world.new_controller()
    traffic.flow(30)
    assert await counts(world, traffic.id) == 30


@pytest.mark.parametrize("killed", [False, True])
async def test_what_was_shown_of_another_baseline_does_not_count(world, killed):
    traffic = await begun(world, swap())
    await flow(world, traffic, 50)
    before = await counts(world, traffic.id)
    world.asks(swap(), model={"deployment": "huge"})
    await world.controller.tick()
    if killed:
        world.controller = world.new_controller()
    await world.pass_time(1, look_every_s=1)
    await flow(world, traffic, 10)
    after = await counts(world, traffic.id)
    assert before > 200 and 80 <= after <= 110
    await flow(world, traffic, 400)
    assert world.record(traffic.id).state is State.PROMOTED


async def test_replicas_that_take_turns_count_each_outcome_once(world):
    traffic = await begun(world, swap([{"weight": "50%", "at_least": "1h"}, {"weight": "100%"}]))
    replicas = [world.controller, world.new_controller()]
    for second in range(30):
        traffic.flow(5)
        world.controller = replicas[second % 2 if second % 5 else 0]
        await world.pass_time(1, look_every_s=1)
    assert await counts(world, traffic.id) == 150


async def test_a_look_whose_transaction_fails_is_forgotten(world, monkeypatch):
    traffic = await begun(world, swap([{"weight": "50%", "at_least": "1h"}, {"weight": "100%"}]))
    traffic.flow(20)
    keep = world.store.changing

    class Away:
        def __init__(self):
            self.inner = keep()

        async def __aenter__(self):
            return await self.inner.__aenter__()

        async def __aexit__(self, *what):
            failed = NotReady("gone before the commit")
            await self.inner.__aexit__(type(failed), failed, None)
            raise failed

    monkeypatch.setattr(world.store, "changing", Away)
    for _ in range(3):
        with pytest.raises(NotReady):
            await world.pass_time(3)
    monkeypatch.undo()
    assert await counts(world, traffic.id) == 20


async def test_a_rollback_is_decided_once_whoever_dies(world):
    traffic = await begun(world, swap())
    for _ in range(60):
        if world.record(traffic.id).state is not State.RUNNING:
            break
        traffic.flow(10, candidate_fails=0.9)
        world.controller = world.new_controller()
        await world.pass_time(1, look_every_s=1)
    for _ in range(5):
        world.controller = world.new_controller()
        await world.pass_time(1)
    assert world.trail(traffic.id) == ["pending", "running", "rolled_back"]
    assert [entry.action for entry in decisions(world, traffic.id)] == [Action.ROLL_BACK]


async def test_while_outcomes_cannot_be_read_nothing_moves_on(world):
    traffic = await begun(world, swap())
    await flow(world, traffic, 50)
    world.events.away = True
    await world.pass_time(200, look_every_s=1)
    record = world.record(traffic.id)
    assert (record.state, record.step) == (State.RUNNING, 0)
    world.events.away = False
    await flow(world, traffic, 300)
    assert world.record(traffic.id).state is State.PROMOTED


async def test_a_shadow_step_is_judged_by_pairs_alone(world):
    steps = [{"shadow": "50%", "at_least": "10s"}, {"weight": "50%", "at_least": "1h"}, {"weight": "100%"}]
    pairs = {"pairs": {"exact": {"max_decrease": "20%"}}, "missing_after": "60s"}
    traffic = await begun(world, swap(steps, ERRORS | pairs))
    (split,) = world.grants.current().splits
    assert (split.weight, split.shadow) == (0, 5000)
    for _ in range(150):
        if world.record(traffic.id).step:
            break
        for _ in range(10):
            event = traffic.event(arm="candidate", shadow=True, weight=0)
            event.pairs.add(metric="exact", baseline=1, candidate=1)
            traffic.send(event)
        await world.pass_time(1, look_every_s=1)
    assert world.record(traffic.id).step == 1
    assert world.weights == {traffic.id: 5000}


async def test_a_shadow_that_answers_worse_is_rolled_back_before_anybody_sees_it(world):
    steps = [{"shadow": "50%", "at_least": "10s"}, {"weight": "100%"}]
    traffic = await begun(world, swap(steps, ERRORS | {"pairs": {"json": {"max_decrease": "5%"}}}))
    for _ in range(100):
        if world.record(traffic.id).state is not State.RUNNING:
            break
        for _ in range(10):
            event = traffic.event(arm="candidate", shadow=True, weight=0)
            event.pairs.add(metric="json", baseline=1, candidate=float(traffic.random.random() < 0.5))
            traffic.send(event)
        await world.pass_time(1, look_every_s=1)
    assert world.record(traffic.id).state is State.ROLLED_BACK
    assert "pairs.json" in world.record(traffic.id).reason


FRESH = [{"weight": "25%", "at_least": "60s"}, {"weight": "50%", "at_least": "10s"}, {"weight": "100%"}]


async def test_beside_a_fresh_baseline_the_old_one_is_not_compared(world):
    errors = ERRORS | {"errors": {"max_increase": "20%"}}
    traffic = await begun(world, swap(FRESH, errors, fresh_baseline={"deployment": "huge"}))
    (split,) = world.grants.current().splits
    assert (split.weight, split.fresh, split.fresh_json) == (2500, 2500, '{"deployment":"huge"}')
    for _ in range(300):
        if world.record(traffic.id).state is not State.RUNNING:
            break
        weight = world.record(traffic.id).weight / 10_000
        for _ in range(10):
            place = traffic.random.random()
            arm = "candidate" if place < weight else "fresh" if place >= 1 - weight else "baseline"
            # caches of the old one are warm: beside it, everybody would look bad
            fails = traffic.random.random() < (0.0 if arm == "baseline" else 0.2)
            traffic.send(traffic.event(arm=arm, failure="error" if fails else ""))
        await world.pass_time(1, look_every_s=1)
    assert world.record(traffic.id).state is State.PROMOTED


async def test_beside_a_fresh_baseline_a_worse_candidate_is_rolled_back(world):
    traffic = await begun(world, swap(FRESH, fresh_baseline={}))
    for _ in range(100):
        if world.record(traffic.id).state is not State.RUNNING:
            break
        for _ in range(10):
            arm = ("candidate", "fresh", "baseline", "baseline")[traffic.random.randrange(4)]
            fails = traffic.random.random() < (0.6 if arm == "candidate" else 0.1)
            traffic.send(traffic.event(arm=arm, failure="error" if fails else ""))
        await world.pass_time(1, look_every_s=1)
    assert world.record(traffic.id).state is State.ROLLED_BACK
    (told,) = [verdict for verdict in world.store.kept[1][traffic.id] if verdict["metric"] == "errors"]
    assert told["n_baseline"] == sum(event_arm(sent) == "fresh" for sent in traffic.sent)


def event_arm(payload: bytes) -> str:
    return str(RequestEvent.FromString(payload).arm)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"steps": [{"weight": "60%"}, {"weight": "100%"}], "fresh_baseline": {}},
            r"steps\[0\].weight is 60%: above 50%",
        ),
        ({"steps": TWO, "fresh_baseline": {"guardrails": None}}, "'guardrails' makes it another model"),
    ],
)
def test_a_fresh_baseline_that_could_not_be_compared_is_refused(more, message):
    with pytest.raises(ValidationError, match=message):
        Rollout.model_validate({"candidate": {"deployment": "large"}, **more})


async def test_a_fresh_baseline_on_an_unknown_deployment_is_refused_with_its_place(world):
    spec = json.dumps(swap(FRESH, fresh_baseline={"deployment": "hugee"}))
    with pytest.raises(BadInput, match="fresh_baseline") as refused:
        await world.operations.start("assistant", spec, world.admin)
    assert refused.value.param.startswith("spec_json.fresh_baseline")


async def test_approval_lets_one_step_go_on(world):
    steps = [{"weight": "5%", "approval": True}, {"weight": "50%", "approval": True}, {"weight": "100%"}]
    spec = swap(steps)
    del spec["analysis"]
    id_ = world.asks(spec)
    await world.pass_time(30)
    assert world.record(id_).step == 0
    assert "headrace rollouts approve" in world.record(id_).holds
    with pytest.raises(Conflict, match="is in step 1, not 2"):
        await world.operations.approve(id_, 1, world.admin)
    assert (await world.operations.approve(id_, 0, world.admin)).approved == 0
    await world.pass_time(10)
    assert world.record(id_).step == 1, "and the next one waits again"
    with pytest.raises(Conflict):
        await world.operations.approve(id_, 0, world.admin)
    await world.operations.approve(id_, 1, world.admin)
    await world.pass_time(10)
    assert world.record(id_).state is State.PROMOTED
    with pytest.raises(Conflict):
        await world.operations.approve(id_, 2, world.admin)


async def test_steps_begin_within_their_schedule_only_and_never_in_a_freeze(world):
    freeze = {"start": "2030-01-01T10:00:00Z", "end": "2030-01-01T11:00:00Z", "reason": "sales"}
    spec = swap([{"weight": "5%", "at_least": "1m"}, {"weight": "100%"}], schedule={}, freeze=[freeze])
    del spec["analysis"]
    id_ = world.asks(spec)
    await world.controller.tick()  # a Tuesday, at midnight
    assert world.record(id_).state is State.PENDING
    assert "goes on at 2030-01-01T09:00:00+00:00" in world.record(id_).reason
    world.store.time = datetime.fromisoformat("2030-01-01T09:59:30+00:00")
    await world.controller.tick()
    assert world.record(id_).state is State.RUNNING
    await world.pass_time(120)
    assert "frozen until 2030-01-01T11:00:00+00:00 (sales)" in world.record(id_).holds
    await world.operations.abort(id_, "", world.admin)
    assert world.weights == {}, "back is possible at any time"


async def test_explain_tells_transitions_decisions_and_points(world):
    traffic = await begun(world, swap())
    await flow(world, traffic, 60, candidate_fails=0.5)
    record, story, points = await world.operations.explain(traffic.id, world.admin)
    assert record.state is State.ROLLED_BACK
    assert [entry.record.state for entry in story.transitions] == ["pending", "running", "rolled_back"]
    assert story.decisions[-1].action is Action.ROLL_BACK
    assert points[-1]["state"] == "beyond" and points[0]["at"] <= points[-1]["at"]


async def test_a_candidate_whose_answers_people_like_less_is_rolled_back(world):
    spec = swap(analysis={"errors": None, "failures": None, "total": None, "scores": {"feedback": {}}})
    traffic = await begun(world, spec)
    for _ in range(120):
        if world.record(traffic.id).state is not State.RUNNING:
            break
        for _ in range(10):
            event = traffic.event()
            traffic.send(event)
            said = traffic.event(kind=RequestEvent.KIND_RATED, arm=event.arm, unit=event.unit)
            said.scores["feedback"] = 0.2 if event.arm == "candidate" else 0.9
            traffic.send(said)
        await world.pass_time(1, look_every_s=1)
    record = world.record(traffic.id)
    assert record.state is State.ROLLED_BACK
    assert "beyond its margin: scores.feedback" in record.reason


def test_a_score_that_no_answer_has_is_refused(world):
    with pytest.raises(ValidationError, match="'feedbak' is not in scores of live answers"):
        world.asks(swap(analysis={"scores": {"feedbak": {}}}))


def test_the_identity_does_not_change_with_new_options():
    spec = Rollout.model_validate({"candidate": {"deployment": "large"}, "steps": [{"weight": "100%"}]})
    assert canonical(spec) == '{"candidate":{"deployment":"large"},"steps":[{"weight":"100%"}]}'
