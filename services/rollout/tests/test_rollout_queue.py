"""Rollouts that wait behind others of their model."""

from __future__ import annotations

import pytest

from headrace_kit.config.rollouts import Rollout
from headrace_kit.errors import Conflict
from headrace_rollout.domain.machine import MOST_QUEUED
from headrace_rollout.domain.records import State, canonical


def spec(deployment: str = "large", at_least: int = 60) -> str:
    steps = [{"weight": "5%", "at_least": at_least}, {"weight": "100%"}]
    return canonical(Rollout.model_validate({"candidate": {"deployment": deployment}, "steps": steps}))


async def start(world, *args, queue: bool = True, **more) -> str:
    record = await world.operations.start("assistant", spec(*args, **more), world.admin, queue=queue)
    return record.id


def states(world, *ids: str) -> list[str]:
    return [str(world.record(id_).state) for id_ in ids]


async def test_one_at_a_time_in_the_order_in_which_they_were_asked_for(world):
    first = await start(world)
    world.store.pass_time(1)
    second = await start(world, "huge")
    world.store.pass_time(1)
    third = await start(world, at_least=61)
    assert states(world, first, second, third) == ["running", "queued", "queued"]
    assert world.record(third).reason == f"waits in the queue behind rollout {first} and 1 more"
    assert world.weights == {first: 500}
    await world.operations.abort(first, "", world.admin)
    await world.pass_time(10)
    assert states(world, first, second, third) == ["aborted", "running", "queued"]
    assert world.record(third).reason == f"waits in the queue behind rollout {second}"
    await world.operations.abort(second, "", world.admin)
    await world.pass_time(10)
    assert world.weights == {third: 500}
    assert world.trail(third) == ["queued", "queued", "pending", "running"]


async def test_it_waits_until_a_promoted_one_is_adopted(world):
    first = await start(world)
    second = await start(world, "huge")
    await world.pass_time(70)
    assert states(world, first, second) == ["promoted", "queued"]
    world.asks(None, model={"deployment": "large"})
    await world.pass_time(10)
    assert states(world, first, second) == ["promoted", "running"]
    assert not world.record(first).overlay


async def test_a_queued_one_is_listed_and_can_be_aborted(world):
    first = await start(world)
    second = await start(world, "huge")
    assert {record.id for record in await world.operations.rollouts(ended=False, who=world.admin)} == {first, second}
    with pytest.raises(Conflict, match="has not started"):
        await world.operations.promote(second, world.admin)
    await world.operations.abort(second, "not needed", world.admin)
    await world.pass_time(70)
    assert states(world, first, second) == ["promoted", "aborted"]


async def test_the_queue_outlives_the_controller_and_the_newest_wish_of_the_file(world):
    first = await start(world)
    second = await start(world, "huge")
    world.controller = world.new_controller()
    in_file = world.asks(
        {"candidate": {"deployment": "large"}, "steps": [{"weight": "9%", "at_least": "1h"}, {"weight": "100%"}]}
    )
    await world.pass_time(10)
    assert states(world, first, second, in_file) == ["superseded", "queued", "running"]
    world.asks(None)
    await world.pass_time(10)
    assert states(world, in_file, second) == ["aborted", "running"]


async def test_without_queue_it_takes_the_place_of_the_one_that_runs(world):
    first = await start(world)
    second = await start(world, "huge", queue=False)
    assert states(world, first, second) == ["superseded", "running"]


async def test_asking_again_for_a_queued_one_changes_nothing(world):
    await start(world)
    second = await start(world, "huge")
    assert await start(world, "huge") == second
    assert world.trail(second) == ["queued"]


async def test_a_queued_candidate_that_the_config_no_longer_allows_is_withdrawn(world):
    await start(world)
    second = await start(world, "huge")
    tree = world.config.model_dump(mode="json")
    del tree["deployments"]["huge"]
    world.config = type(world.config).model_validate(tree)
    await world.pass_time(5)
    assert world.record(second).state is State.ABORTED


async def test_the_queue_has_an_end(world):
    for number in range(MOST_QUEUED):
        await start(world, at_least=60 + number)
    with pytest.raises(Conflict, match="abort one"):
        await start(world, at_least=1)
