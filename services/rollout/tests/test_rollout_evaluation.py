"""Steps that put a candidate to a suite before anybody is on it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from headrace_evals import suite
from headrace_evals.fakes import FakePlatform
from headrace_evals.suite import Loaded
from headrace_kit.config.rollouts import Rollout
from headrace_kit.errors import BadInput
from headrace_rollout.domain.evaluating import Evaluating, Suites
from headrace_rollout.domain.records import State, canonical
from headrace_rollout.domain.verdicts import Action
from headrace_rollout.ports import Claim

ITEMS = 60
STEPS = [{"evaluate": "golden"}, {"weight": "5%", "at_least": "60s"}, {"weight": "100%"}]
SWAP = {"candidate": {"deployment": "large"}, "steps": STEPS}


@pytest.fixture
def golden(tmp_path) -> Loaded:
    items = [{"input": f"say {number}", "expected": str(number)} for number in range(ITEMS)]
    path = tmp_path / "golden.yaml"
    path.write_text(
        f"items: {items}\ngraders: {{right: {{type: exact}}}}\n"
        "thresholds: {right: {at_least: 90%, max_decrease: 10%}, errors: {at_most: 0%}}\n"
    )
    return suite.load(path)


class Replica:
    """What a process of the service has for its suites; several share the store."""

    def __init__(self, world, platform: FakePlatform, name: str = "one") -> None:
        world.store.suites.clock = lambda: world.now_s
        self.world = world
        suites = Suites(world.load, lambda _: platform)
        self.evaluating = Evaluating(
            world.store.suites, suites, name, world.controller.wake, lease_s=15.0, again_s=0.001
        )

    async def until(self, holds) -> None:
        """Look until it holds."""
        async with asyncio.timeout(20):
            while not holds():
                await self.world.pass_time(0.1)
                self.evaluating.follow(list(self.world.store.records.values()))
                await asyncio.sleep(0.001)


def right(arm, words: str) -> str:
    return words.removeprefix("say ")


def worse(arm, words: str) -> str:
    return "no idea" if arm.arm == "candidate" and words.endswith(("1", "3")) else right(arm, words)


@pytest.fixture
async def replica(world, golden, request):
    world.suites["golden"] = golden
    made = Replica(world, FakePlatform(getattr(request, "param", right)))
    yield made
    await made.evaluating.stop()


async def test_a_candidate_that_passes_goes_on_and_the_numbers_are_kept(world, replica):
    id_ = world.asks(SWAP)
    await world.controller.tick()
    assert world.weights == {id_: 0}, "gateways know the candidate, and nobody is on it"
    await replica.until(lambda: world.record(id_).step == 1)
    found = world.store.suites.last([id_])[id_]
    assert (found.state, found.done, found.total, found.why) == ("passed", ITEMS, ITEMS, "")
    [decision] = world.store.decisions
    assert (decision.action, decision.step) == (Action.ADVANCE, 0)
    assert "the evaluation golden was passed" in decision.reason
    assert [(check["metric"], check["state"]) for check in decision.verdicts] == [
        ("golden/right", "within"),
        ("golden/right", "within"),
        ("golden/errors", "within"),
    ]
    assert world.weights == {id_: 500}


@pytest.mark.parametrize("replica", [worse], indirect=True)
async def test_a_candidate_that_fails_is_rolled_back_before_anybody_was_on_it(world, replica):
    id_ = world.asks(SWAP)
    await world.controller.tick()
    await replica.until(lambda: world.record(id_).state is State.ROLLED_BACK)
    assert "the evaluation golden failed: right: it is 80%, not at least 90%" in world.record(id_).reason
    [decision] = world.store.decisions
    assert decision.action is Action.ROLL_BACK
    [paired] = [check for check in decision.verdicts if "down by at most" in check["reason"]]
    assert (paired["state"], paired["n_candidate"]) == ("beyond", ITEMS)
    assert paired["estimate"] == pytest.approx(-0.2)
    assert max(entry.record.weight for entry in world.store.transitions) == 0


async def test_both_arms_are_asked_each_item_once(world, replica):
    platform = FakePlatform(right)
    replica.evaluating._suites = Suites(world.load, lambda _: platform)
    id_ = world.asks(SWAP)
    await replica.until(lambda: world.record(id_).step == 1 if id_ in world.store.records else False)
    asked = sorted((arm.rollout, arm.arm, words) for arm, words, _ in platform.asked)
    assert asked == sorted((id_, arm, f"say {n}") for arm in ("baseline", "candidate") for n in range(ITEMS))


async def test_a_baseline_edited_afterwards_is_asked_again(world, replica):
    platform = FakePlatform(right)
    replica.evaluating._suites = Suites(world.load, lambda _: platform)
    id_ = world.asks(SWAP)
    await replica.until(lambda: id_ in world.store.records and world.record(id_).step == 1)
    world.asks(SWAP, model={"deployment": "huge"})
    await replica.until(lambda: world.record(id_).step == 0)
    await replica.until(lambda: world.record(id_).step == 1)
    assert len(platform.asked) == 4 * ITEMS


async def test_another_replica_goes_on_where_a_dead_one_was(world, golden):
    world.suites["golden"] = golden
    stuck = asyncio.Event()

    class Dies(FakePlatform):
        async def ask(self, arm, messages, options):
            if len(self.asked) >= 40:
                await stuck.wait()
            return await super().ask(arm, messages, options)

    first = Replica(world, Dies(right), "first")
    id_ = world.asks(SWAP)
    await world.controller.tick()
    store = world.store.suites
    await first.until(lambda: id_ in store.last([id_]) and store.last([id_])[id_].done >= 18)
    done = store.last([id_])[id_].done
    for task in first.evaluating._tasks.values():
        task.cancel()  # as a kill: nothing is given back
    platform = FakePlatform(right)
    second = Replica(world, platform, "second")
    # While the lease holds nobody takes over.
    world.now_s += 10
    second.evaluating.follow(list(world.store.records.values()))
    await asyncio.sleep(0.02)
    assert platform.asked == []
    world.now_s += 6
    await second.until(lambda: world.record(id_).step == 1)
    assert len(platform.asked) == 2 * (ITEMS - done)
    await second.evaluating.stop()


async def test_the_one_that_lost_its_lease_stores_nothing(world, golden):
    world.suites["golden"] = golden
    slow = asyncio.Event()

    class Waits(FakePlatform):
        async def ask(self, arm, messages, options):
            await slow.wait()
            return await super().ask(arm, messages, options)

    first = Replica(world, Waits(worse), "first")
    id_ = world.asks(SWAP)
    await first.until(lambda: bool(first.evaluating._tasks) and bool(world.store.suites.entries))
    world.now_s += 16
    second = Replica(world, FakePlatform(right), "second")
    await second.until(lambda: world.store.suites.last([id_])[id_].state == "passed")
    slow.set()
    await asyncio.sleep(0.02)
    assert world.store.suites.last([id_])[id_].state == "passed"
    for replica in (first, second):
        await replica.evaluating.stop()


async def test_a_platform_that_is_away_holds_the_step_and_says_so(world, replica):
    platform = FakePlatform(right)
    platform.away = True
    replica.evaluating._suites = Suites(world.load, lambda _: platform)
    id_ = world.asks(SWAP)
    await world.controller.tick()
    await replica.until(lambda: "nothing answers" in world.record(id_).holds)
    assert world.record(id_).step == 0
    platform.away = False
    await replica.until(lambda: world.record(id_).step == 1)


async def test_an_evaluation_that_cannot_be_made_rolls_back_after_the_limit(world, replica):
    platform = FakePlatform(right)
    platform.away = True
    replica.evaluating._suites = Suites(world.load, lambda _: platform)
    id_ = world.asks(SWAP | {"analysis": {"missing_limit": "60s"}})
    await replica.until(lambda: id_ in world.store.records and "nothing answers" in world.record(id_).holds)
    await world.pass_time(70)
    assert world.record(id_).state is State.ROLLED_BACK
    assert "nothing was known of the evaluation golden (nothing answers) for 60 s" in world.record(id_).reason


async def test_a_suite_whose_file_is_gone_holds_and_cannot_be_started(world, replica):
    id_ = world.asks(SWAP)
    world.suites.clear()
    await world.controller.tick()
    await replica.until(lambda: "there is no file of golden" in world.record(id_).holds)
    with pytest.raises(BadInput) as refused:
        await world.operations.start("assistant", canonical(Rollout.model_validate(SWAP)), world.admin)
    assert refused.value.param == "spec_json.steps[0].evaluate"


async def test_a_suite_that_changed_meanwhile_begins_anew(world, replica, golden):
    store = world.store.suites
    id_ = world.asks(SWAP)
    await replica.until(lambda: id_ in world.store.records and world.record(id_).step == 1)
    entry = store.entries[(id_, 0)]
    entry.evaluation, entry.digest = replace(entry.evaluation, state="running"), "of another version"
    entry.owner = ""
    rows = await store.claim(id_, 0, "golden", Claim("two", 15.0, golden.digest, ITEMS))
    assert rows == {}


async def test_a_rollout_that_was_aborted_asks_nothing_more(world, replica):
    id_ = world.asks(SWAP)
    await world.controller.tick()
    replica.evaluating.follow(list(world.store.records.values()))
    await world.operations.abort(id_, "", world.admin)
    replica.evaluating.follow(list(world.store.records.values()))
    assert replica.evaluating._tasks == {}
    assert world.weights == {}


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([{"evaluate": "golden", "weight": "5%"}, {"weight": "100%"}], "leave its weight out"),
        ([{}, {"weight": "100%"}], "evaluate"),
    ],
    ids=["weight", "nothing"],
)
async def test_steps_that_make_no_sense_are_refused(world, steps, says):
    with pytest.raises(ValueError, match=says):
        world.asks({"candidate": {"deployment": "large"}, "steps": steps})


async def test_a_suite_that_the_config_does_not_have_is_refused(world):
    with pytest.raises(ValueError, match="evals"):
        world.asks(SWAP | {"steps": [{"evaluate": "gold"}, {"weight": "100%"}]})
