"""What gateways are told, when, and for how long it holds."""

from __future__ import annotations

import asyncio
import json

import pytest
from prometheus_client import CollectorRegistry

from headrace_kit.errors import NotReady
from headrace_rollout.domain.grants import Grants
from headrace_rollout.metrics import Metrics

SWAP = {
    "candidate": {"deployment": "large", "guardrails": None},
    "steps": [{"weight": "10%", "at_least": "1h"}, {"weight": "100%"}],
}


async def next_grant(watch):
    return await asyncio.wait_for(anext(watch), 5)


async def test_the_first_grant_comes_at_once_and_says_everything(world):
    id_ = world.asks(SWAP)
    await world.controller.tick()
    grant = await next_grant(world.grants.watch())
    (split,) = grant.splits
    assert (split.rollout_id, split.model, split.weight) == (id_, "assistant", 1000)
    assert json.loads(split.candidate_json) == SWAP["candidate"]
    assert split.salt == world.record(id_).salt and len(split.salt) >= 16
    assert grant.lease_ms == 15_000


async def test_a_watch_that_comes_first_waits_for_the_truth(world):
    watch = world.grants.watch()
    first = asyncio.ensure_future(next_grant(watch))
    await asyncio.sleep(0)
    assert not first.done()
    await world.controller.tick()
    assert (await first).splits == ()


async def test_a_change_is_pushed_at_once_to_everybody(world):
    id_ = world.asks(SWAP)
    await world.controller.tick()
    watches = [world.grants.watch() for _ in range(3)]
    before = [await next_grant(watch) for watch in watches]
    pushed = [asyncio.ensure_future(next_grant(watch)) for watch in watches]
    await asyncio.sleep(0)
    await world.operations.abort(id_, "no good", world.admin)
    for old, new in zip(before, [await grant for grant in pushed], strict=True):
        assert new.splits == ()
        assert new.version > old.version


async def test_a_change_between_two_reads_of_a_slow_gateway_is_not_missed(world):
    id_ = world.asks(SWAP)
    await world.controller.tick()
    watch = world.grants.watch()
    await next_grant(watch)
    await world.operations.promote(id_, world.admin)
    assert (await next_grant(watch)).splits[0].weight == 10_000


async def test_grants_are_renewed_without_a_change(world):
    metrics = Metrics(CollectorRegistry())
    grants = Grants(lambda: 0.06, metrics, lambda: world.now_s)
    grants.learn(await world.store.truth(), world.now_s)
    watch = grants.watch()
    first, second = await next_grant(watch), await next_grant(watch)
    assert first.version == second.version


async def test_the_lease_counts_from_the_last_look_and_runs_out_with_the_store(world):
    world.asks(SWAP)
    await world.controller.tick()
    world.store.away = True
    world.now_s += 10
    with pytest.raises(NotReady):
        await world.controller.tick()
    assert world.grants.sure()
    assert world.grants.current().lease_ms == 5_000
    world.now_s += 5
    assert not world.grants.sure()


async def test_after_the_store_is_back_grants_go_on_at_once(world):
    world.asks(SWAP)
    await world.controller.tick()
    watch = world.grants.watch()
    before = await next_grant(watch)
    world.now_s += 100
    again = asyncio.ensure_future(next_grant(watch))
    await asyncio.sleep(0)
    assert not again.done()
    await world.controller.learn()
    grant = await again
    assert (grant.splits, grant.version, grant.lease_ms) == (before.splits, before.version, 15_000)


async def test_an_old_answer_does_not_undo_a_new_one(world):
    id_ = world.asks(SWAP)
    await world.controller.tick()
    old = await world.store.truth()
    await world.operations.abort(id_, "", world.admin)
    world.grants.learn(old, world.now_s)
    assert world.weights == {}


async def test_closing_ends_the_watches(world):
    await world.controller.tick()
    watch = world.grants.watch()
    await next_grant(watch)
    waiting = asyncio.ensure_future(next_grant(watch))
    await asyncio.sleep(0)
    world.grants.close()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_the_loop_looks_at_once_when_woken_and_survives_faults(world):
    await world.controller.start()
    try:
        watch = world.grants.watch()
        assert (await next_grant(watch)).splits == ()
        world.asks(SWAP)
        world.controller.wake()
        assert (await next_grant(watch)).splits[0].weight == 1000
        world.store.away = True
        world.controller.wake()
        await asyncio.sleep(0)
        world.store.away = False
        world.asks(None)
        world.controller.wake()
        assert (await next_grant(watch)).splits == ()
    finally:
        await world.controller.stop()
