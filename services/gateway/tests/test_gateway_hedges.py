"""Slow first tokens: a second attempt beside the first, and engines that say nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from headrace_gateway.fakes import Script
from headrace_gateway.routing.plan import Member, Pool, StagePlan, compile_target
from headrace_kit.config.resilience import Hedge, Timeouts
from headrace_kit.errors import BadInput, Upstream

SILENT = Script([], hang=True)
AT_ONCE = Hedge(after=0, at_most="100%")


def pooled(rig, *names, fallbacks=(), **changes):
    """The model `sturdy` over a pool of these deployments, the first chosen first."""
    plan = rig.table.models["sturdy"]
    pool = Pool(tuple(Member(compile_target(name, rig.table.config)) for name in names))
    spare = tuple(Pool((Member(compile_target(name, rig.table.config)),)) for name in fallbacks)
    policy = plan.resilience.model_copy(update=changes)
    rig.table.models["sturdy"] = replace(
        plan, stages=(StagePlan(pool, None),), fallbacks=spare, resilience=policy, attempts=policy.retry.attempts
    )


def sample(rig, name, **labels):
    return rig.registry.get_sample_value(f"headrace_gateway_{name}", {"model": "sturdy", **labels})


async def read(rig, call, ctx=None):
    answer = await rig.pipeline.generate(ctx or rig.context(), call)
    return [chunk async for chunk in answer.chunks()]


def text(chunks):
    return "".join(chunk.text for chunk in chunks)


@pytest.mark.parametrize("stream", [True, False])
async def test_the_hedge_wins_where_the_first_says_nothing(rig, ask, stream):
    pooled(rig, "small", "large", hedge=AT_ONCE)
    rig.engine.scripts |= {"small": [SILENT], "large": [Script(["quick"], input_tokens=7)]}
    ctx = rig.context()
    chunks = await read(rig, ask("sturdy", stream=stream), ctx)
    assert text(chunks) == "quick" and chunks[-1].usage.input_tokens == 7
    lost, won = rig.closed()
    assert (lost.deployment, lost.attempt, lost.verdict, lost.error_code, lost.reason) == ("small", 0, "lost", "", "")
    assert (won.deployment, won.attempt, won.verdict, won.reason) == ("large", 1, "", "hedge")
    assert lost.usage.input_tokens == 7 and lost.cost_nano_usd == 7 * 1000, "it read the same prompt"
    assert ctx.cost_nano_usd == lost.cost_nano_usd + won.cost_nano_usd
    assert rig.engine.calls[0].cancelled
    assert ctx.outcome.deployment == "large"
    assert [(stage.verdict, stage.reason) for stage in ctx.outcome.stages] == [("lost", None), ("accepted", "hedge")]
    assert sample(rig, "hedges_total", outcome="won") == 1


async def test_the_first_may_still_win(rig, ask):
    pooled(rig, "small", "large", hedge=AT_ONCE)
    late = Script(["late"], gate=asyncio.Event())
    rig.engine.scripts |= {"small": [late], "large": [SILENT]}
    reading = asyncio.create_task(read(rig, ask("sturdy", stream=True)))
    await rig.engine.hanging.wait()
    late.gate.set()
    assert text(await reading) == "late"
    assert [(event.deployment, event.verdict) for event in rig.closed()] == [("large", "lost"), ("small", "")]
    assert sample(rig, "hedges_total", outcome="lost") == 1


async def test_a_quick_first_token_asks_nobody_else(rig, ask):
    pooled(rig, "small", "large", hedge=Hedge(after=60, at_most="100%"))
    assert text(await read(rig, ask("sturdy"))) == "hello"
    assert len(rig.engine.calls) == 1


async def test_a_hedge_that_fails_leaves_the_first_alone(rig, ask):
    pooled(rig, "small", "large", hedge=AT_ONCE)
    late = Script(["late"], gate=asyncio.Event())
    rig.engine.scripts |= {"small": [late], "large": [Script([], error=Upstream("gone"), after=late.gate)]}
    assert text(await read(rig, ask("sturdy", stream=True))) == "late"


async def test_where_both_fail_the_tries_go_on(rig, ask):
    pooled(rig, "small", "large", fallbacks=["spare"], hedge=AT_ONCE)
    gate = asyncio.Event()
    rig.engine.scripts |= {
        "small": [Script([], error=Upstream("gone"), gate=gate)],
        "large": [Script([], error=Upstream("gone"), after=gate)],
    }
    assert text(await read(rig, ask("sturdy", stream=True))) == "hello"
    assert rig.engine.calls[-1].deployment in ("large", "small", "spare")
    assert {event.attempt for event in rig.closed()} == set(range(len(rig.closed()))), "each has a number of its own"


async def test_bad_input_is_told_at_once_and_not_hedged(rig, ask):
    pooled(rig, "small", "large", hedge=Hedge(after=60, at_most="100%"))
    rig.engine.scripts["small"] = [Script([], error=BadInput("no"))]
    with pytest.raises(BadInput):
        await read(rig, ask("sturdy"))
    assert len(rig.engine.calls) == 1


async def test_hedges_are_a_share_of_the_requests(rig, ask):
    pooled(rig, "small", "large", hedge=Hedge(after=0, at_most="10%"), outliers=None)
    for _ in range(20):
        gate = asyncio.Event()
        rig.engine.scripts |= {name: [Script(["late"], gate=gate)] for name in ("small", "large")}
        reading = asyncio.create_task(read(rig, ask("sturdy", stream=True)))
        for _ in range(50):
            await asyncio.sleep(0)
        gate.set()
        await reading
    hedged = sum(event.reason == "hedge" for event in rig.closed())
    assert 1 <= hedged <= 1 + 20 * 0.1
    assert sample(rig, "hedges_total", outcome="refused") > 0


async def test_the_p95_is_learned_before_anything_is_hedged(rig, ask):
    pooled(rig, "small", "large", hedge=Hedge())
    plan = rig.table.models["sturdy"]
    target = plan.targets[0]
    assert rig.health.hedge_after_s(plan, target) is None
    for number in range(100):
        rig.health.known(plan, target.name).first_tokens.add(number / 100, rig.clock())
    assert rig.health.hedge_after_s(plan, target) == pytest.approx(0.95)


async def test_a_client_that_leaves_ends_both(rig, ask):
    pooled(rig, "small", "large", hedge=AT_ONCE)
    rig.engine.scripts |= {"small": [SILENT], "large": [SILENT]}
    waiting = asyncio.create_task(read(rig, ask("sturdy", stream=True)))
    while len(rig.engine.calls) < 2:
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert all(call.cancelled for call in rig.engine.calls)
    assert [event.error_code for event in rig.closed()] == ["client_closed_request"] * 2


async def test_one_that_is_hedged_away_again_and_again_counts_as_slow(rig, ask):
    pooled(rig, "small", "large", hedge=AT_ONCE)
    plan = rig.table.models["sturdy"]
    rig.engine.scripts |= {"small": [SILENT], "large": [Script(["quick"])]}
    await read(rig, ask("sturdy", stream=True))
    assert len(rig.health.known(plan, "small").first_tokens.fresh(rig.clock())) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_an_engine_without_a_first_token_in_time_has_failed(rig, ask, stream):
    pooled(rig, "small", fallbacks=["spare"], timeouts=Timeouts(first_token="10ms"))
    rig.engine.scripts["small"] = [SILENT]
    assert text(await read(rig, ask("sturdy", stream=stream))) == "hello"
    assert [event.error_code for event in rig.closed()] == ["engine_stalled"] * 3 + [""]
    assert rig.engine.calls[0].cancelled


async def test_an_engine_that_stalls_between_tokens_has_failed(rig, ask):
    pooled(rig, "small", timeouts=Timeouts(between_tokens="10ms"))
    rig.engine.scripts["small"] = [Script(["some ", "text"], hang=True)]
    with pytest.raises(Upstream, match="said nothing for") as caught:
        await read(rig, ask("sturdy", stream=True))
    assert caught.value.code == "engine_stalled"
    assert rig.engine.calls[0].cancelled
    assert rig.closed()[0].usage.output_tokens == 2


async def test_a_slow_reader_is_not_the_engines_fault(rig, ask):
    pooled(rig, "small", timeouts=Timeouts(between_tokens="5ms"))
    rig.engine.scripts["small"] = [Script(["a", "b", "c"])]
    answer = await rig.pipeline.generate(rig.context(), ask("sturdy", stream=True))
    seen = []
    async for chunk in answer.chunks():
        seen.append(chunk.text)
        await asyncio.sleep(0.02)
    assert "".join(seen) == "abc"


async def test_a_client_that_leaves_a_watched_stream_is_no_stall(rig, ask):
    pooled(rig, "small", timeouts=Timeouts(between_tokens="60s"))
    rig.engine.scripts["small"] = [Script(["some"], hang=True)]
    reading = asyncio.create_task(read(rig, ask("sturdy", stream=True)))
    await rig.engine.hanging.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert rig.closed()[0].error_code == "client_closed_request"
