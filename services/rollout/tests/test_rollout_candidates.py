"""Candidates are loaded before their first step, and unloaded when nobody needs them any more."""

from __future__ import annotations

import asyncio

import pytest

from headrace_kit.config.rollouts import Rollout
from headrace_kit.errors import NotReady, Upstream
from headrace_rollout.adapters.inference import InferenceModels
from headrace_rollout.domain.candidates import Candidates
from headrace_rollout.domain.desired import Desired
from headrace_rollout.domain.records import State, canonical
from headrace_rollout.domain.verdicts import Action

STEPS = [{"weight": "5%", "at_least": "60s"}, {"weight": "100%"}]


def swap(deployment: str = "large", **more) -> dict:
    return {"candidate": {"deployment": deployment}, "steps": STEPS} | more


class FakeModels:
    """`Models` of a fleet in which loads end at once, or fail with `broken`."""

    def __init__(self) -> None:
        self.now = dict.fromkeys(("small", "large", "huge"), "ready")
        self.away = False
        self.broken = ""
        self.asked: list[str] = []

    async def states(self) -> dict[str, str]:
        if self.away:
            raise NotReady("away")
        return dict(self.now)

    async def load(self, name: str) -> None:
        self.asked.append(f"load {name}")
        if self.broken:
            raise Upstream(self.broken)
        self.now[name] = "ready"

    async def unload(self, name: str) -> None:
        self.asked.append(f"unload {name}")
        self.now[name] = "unloaded"


@pytest.fixture
async def models(world):
    made = FakeModels()
    world.controller.candidates = Candidates(
        made, lambda: Desired(world.config), world.controller.wake, lambda: 0.0, again_s=0.001
    )
    yield made
    await world.controller.candidates.stop()


async def test_deployments_of_a_fresh_baseline_are_made_ready_too(world, models):
    models.now |= {"large": "unloaded", "huge": "unloaded"}
    id_ = world.asks(swap(fresh_baseline={"deployment": "huge"}))
    await until(world, lambda: world.record(id_).state is State.RUNNING)
    assert models.asked == ["load large", "load huge"]


async def until(world, holds) -> None:
    async with asyncio.timeout(10):
        await world.controller.tick()
        while not holds():
            await world.pass_time(1)
            await asyncio.sleep(0.001)


async def test_a_candidate_that_is_ready_is_not_loaded_anew(world, models):
    id_ = world.asks(swap())
    await until(world, lambda: world.weights == {id_: 500})
    assert models.asked == []


async def test_what_is_unloaded_is_loaded_before_the_first_step(world, models):
    models.now["large"] = "unloaded"
    id_ = world.asks(swap())
    await world.controller.tick()
    assert (world.record(id_).state, world.weights) == (State.PENDING, {})
    await until(world, lambda: world.weights == {id_: 500})
    assert models.asked == ["load large"]


async def test_it_waits_for_what_inference_loads_by_itself(world, models):
    models.now["large"] = "warming"
    id_ = world.asks(swap())
    await until(world, lambda: id_ in world.store.records and "is warming" in world.record(id_).reason)
    models.now["large"] = "ready"
    await until(world, lambda: world.weights == {id_: 500})
    assert models.asked == []


async def test_a_candidate_that_cannot_load_fails_and_says_why(world, models):
    models.now["large"], models.broken = "failed", "not enough memory"
    id_ = world.asks(swap())
    await until(world, lambda: id_ in world.store.records and world.record(id_).state is State.ROLLED_BACK)
    assert world.record(id_).reason == (
        "its candidate cannot be served: deployment 'large' cannot be loaded: not enough memory"
    )
    assert max(entry.record.weight for entry in world.store.transitions) == 0
    assert world.store.decisions[-1].action is Action.ROLL_BACK
    assert "load small" not in models.asked, "the baseline is left alone"


async def test_inference_away_holds_and_fails_nothing(world, models):
    models.away = True
    id_ = world.asks(swap())
    await until(world, lambda: id_ in world.store.records and "away" in world.record(id_).reason)
    assert world.record(id_).state is State.PENDING
    models.away = False
    await until(world, lambda: world.weights == {id_: 500})


async def test_it_is_unloaded_when_the_rollout_is_over_and_no_earlier(world, models):
    id_ = world.asks(swap())
    await until(world, lambda: world.weights == {id_: 500})
    await world.pass_time(30)
    assert models.asked == []
    await world.operations.abort(id_, "", world.admin)
    await until(world, lambda: not world.record(id_).warm)
    assert models.asked == ["unload large"]
    await world.pass_time(30)
    assert models.asked == ["unload large"]


async def test_what_a_model_uses_by_then_stays_loaded(world, models):
    id_ = world.asks(swap())
    await until(world, lambda: world.weights == {id_: 500})
    await world.operations.promote(id_, world.admin)
    await world.pass_time(30)
    assert world.record(id_).warm, "the candidate of an overlay serves everybody"
    world.asks(None, model={"deployment": "large"})
    await until(world, lambda: not world.record(id_).warm)
    assert models.asked == []


@pytest.mark.parametrize("more", [{"unload": False}, {}], ids=["told-not-to", "another-rollout"])
async def test_what_is_still_wanted_stays_loaded(world, models, more):
    id_ = world.asks(swap(**more))
    await until(world, lambda: world.weights == {id_: 500})
    world.asks(None if more else swap(steps=[{"weight": "7%", "at_least": "60s"}, {"weight": "100%"}]))
    await until(world, lambda: not world.record(id_).standing and not world.record(id_).warm)
    assert models.asked == []


async def test_a_rollout_that_begins_while_another_ends_keeps_the_candidate_of_both(world, models):
    """Neither is named by the config; the first's candidate is to be unloaded when its lease is over."""
    world.controller.candidates = Candidates(
        models, lambda: Desired(world.config), world.controller.wake, lambda: 1.0, again_s=0.001
    )
    first = await started(world)
    await until(world, lambda: world.weights == {first: 500})
    await world.operations.abort(first, "", world.admin)
    await world.controller.tick()
    second = await started(world, weight="7%")
    await until(world, lambda: world.weights == {second: 700} and not world.controller.candidates._tasks)
    assert models.asked == []
    await world.controller.candidates.stop()


async def started(world, weight: str = "5%") -> str:
    steps = [{"weight": weight, "at_least": "10h"}, {"weight": "100%"}]
    spec = canonical(Rollout.model_validate(swap(steps=steps)))
    return (await world.operations.start("assistant", spec, world.admin)).id


async def test_a_controller_that_was_killed_before_it_unloaded_does_so_later(world, models):
    id_ = world.asks(swap())
    await until(world, lambda: world.weights == {id_: 500})
    before = world.controller.candidates
    world.controller.candidates = None
    await world.operations.abort(id_, "", world.admin)
    await world.pass_time(5)
    assert world.record(id_).warm
    world.controller.candidates = Candidates(
        models, lambda: Desired(world.config), world.controller.wake, lambda: 0.0, again_s=0.001
    )
    await until(world, lambda: not world.record(id_).warm)
    assert models.asked == ["unload large"]
    await world.controller.candidates.stop()
    world.controller.candidates = before


class Answering:
    """A connection to inference on which every call fails as told."""

    def __init__(self, error) -> None:
        self.error = error

    def stub(self, kind):
        return type("Stub", (), {"LoadDeployment": None, "ListDeployments": None})

    async def unary(self, method, request, sent):
        raise self.error


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (Upstream("it is being restarted", code="engine_away"), NotReady),
        (NotReady("not there yet", code="engine_lacks_model"), NotReady),
        (Upstream("not enough memory", code="engine_failed"), Upstream),
    ],
    ids=["an engine that is away", "an engine that has not heard of it", "a model that cannot be"],
)
async def test_an_engine_that_is_away_says_nothing_of_the_candidate(error, raised):
    with pytest.raises(raised):
        await InferenceModels(Answering(error)).load("large")
