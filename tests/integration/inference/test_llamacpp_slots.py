"""Slots of llama.cpp as requests see them: batched together, prefixes by tenant, and freed by a cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from inference_suite.answers import gather
from inference_suite.local import chat, loaded, weights
from inference_suite.waiting import until

from headrace_inference.adapters.llamacpp.engine import LlamaCppEngine
from headrace_inference.ports import Generation

SYSTEM = "You are the assistant of the lighthouse museum on Skerry Island. " + " ".join(
    f"Rule {number}: visitors of group {number} meet at gate {number % 7}." for number in range(14)
)
pytestmark = pytest.mark.asyncio(loop_scope="module")
LONG = "Count from one to a thousand in words."
PROMPT = "word " * 500
SLOTS, CELLS, STEP = 3, 3 * 1024, 32


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[LlamaCppEngine]:
    """One for all tests here: each uses tenants of its own."""
    async with loaded({"model": weights("small")}, slots=SLOTS, batch_tokens=STEP, max_output_tokens=900) as one:
        yield one


def told(tenant: str, question: str, **more) -> Generation:
    messages = ({"role": "system", "content": SYSTEM}, {"role": "user", "content": question})
    return chat(messages, tenant=tenant, max_tokens=2, **more)


async def cached(engine: LlamaCppEngine, generation: Generation) -> tuple[int, int]:
    """Tokens of the prompt that were there already, and all."""
    usage = (await gather(engine, generation)).usage
    return usage.cached_input_tokens, usage.input_tokens


async def running(engine: LlamaCppEngine, wanted: int) -> bool:
    return (await engine.stats()).running == wanted


async def working(engine: LlamaCppEngine, wanted: int) -> bool:
    stats = await engine.stats()
    return (stats.running or 0) + (stats.waiting or 0) == wanted


async def read_tokens(engine: LlamaCppEngine, least: int) -> bool:
    return ((await engine.stats()).kv_cache_used or 0) * CELLS >= least


async def waiting(engine: LlamaCppEngine, wanted: int) -> bool:
    return (await engine.stats()).waiting == wanted


async def drain(engine: LlamaCppEngine, generation: Generation) -> None:
    async for _ in engine.generate(generation):
        pass


async def leave(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_tenants_prompt_is_read_once_and_never_for_another(engine):
    assert (await cached(engine, told("ann", "Where is gate 3?")))[0] == 0
    hit, whole = await cached(engine, told("ann", "And gate 5?"))
    assert hit > 0.9 * whole
    assert (await cached(engine, told("bob", "Where is gate 3?")))[0] == 0, "exactly ann's prompt"
    hit, whole = await cached(engine, told("ann", "Thanks"))
    assert hit > 0.9 * whole


async def test_prefixes_outlive_their_slots_for_their_tenant_only(engine):
    names = [f"tenant-{number}" for number in range(4)]
    for name in names:  # more than there are slots
        assert (await cached(engine, told(name, "Hello")))[0] == 0
    hits = [await cached(engine, told(name, "And now?")) for name in names]
    assert [hit > 0.9 * whole for hit, whole in hits].count(True) >= 3, hits
    assert (await cached(engine, told("tenant-x", "Hello")))[0] == 0


async def test_a_system_prompt_of_the_platform_is_warm_for_every_tenant(engine):
    system = "The platform's own words. " + SYSTEM
    warm = chat(({"role": "system", "content": system}, {"role": "user", "content": "Hello"}), max_tokens=2)
    await gather(engine, warm)
    for name in ("one", "two", "three", "four"):
        messages = ({"role": "system", "content": system}, {"role": "user", "content": f"I am {name}"})
        hit, whole = await cached(engine, chat(messages, tenant=name, max_tokens=2))
        assert hit > 0.9 * whole, name


async def test_slots_really_run_together(engine):
    streams = [asyncio.create_task(drain(engine, chat(LONG, max_tokens=200, tenant=f"t{n}"))) for n in range(5)]
    await until(lambda: running(engine, 3))
    stats = await engine.stats()
    assert (stats.running, stats.waiting) == (3, 2)
    assert stats.kv_cache_used is not None
    assert 0 < stats.kv_cache_used < 1
    await leave(*streams)
    await until(lambda: running(engine, 0))
    assert (await engine.stats()).kv_cache_used == 0


async def test_several_answers_beside_single_ones_and_the_cache_afterwards(engine):
    several = await asyncio.gather(
        gather(engine, told("many", "Name a colour.", n=3)),
        *(gather(engine, told(f"few-{number}", "Name a colour.")) for number in range(3)),
    )
    assert several[0].usage.output_tokens == 6
    assert [answer.usage.output_tokens for answer in several[1:]] == [2, 2, 2]
    hit, whole = await cached(engine, told("many", "Name a colour."))
    assert hit > 0.9 * whole
    assert (await cached(engine, told("nobody", "Name a colour.")))[0] == 0


async def test_leaving_an_answer_frees_the_engines_slots(engine):
    streams = [engine.generate(chat(LONG, max_tokens=800, tenant=f"l{number}")) for number in range(3)]
    for stream in streams:
        await anext(stream)
    assert await running(engine, 3)
    await asyncio.gather(*(stream.aclose() for stream in streams))
    took = await until(lambda: running(engine, 0))
    print(f"three slots free {took * 1000:.0f} ms after their answers were left")


async def left_while_read(engine: LlamaCppEngine, tenant: str) -> tuple[float, list[int]]:
    """Leave three prompts of which one is being read: the tokens read until then, and those of each that are kept."""
    prompts = [chat(f"{tenant} {number} {PROMPT}", max_tokens=1, tenant=f"{tenant}{number}") for number in range(3)]
    streams = [asyncio.create_task(drain(engine, prompt)) for prompt in prompts]
    await until(lambda: working(engine, 3))
    # Past a tenth of the prompt: with less in common llama.cpp takes a slot by its age, not by what is in it.
    await until(lambda: read_tokens(engine, 5 * STEP))
    read = ((await engine.stats()).kv_cache_used or 0) * CELLS
    await leave(*streams)
    took = await until(lambda: working(engine, 0))
    print(f"three slots free {took * 1000:.0f} ms after their prompts were left, {read:.0f} tokens read")
    return read, [(await cached(engine, prompt))[0] for prompt in prompts]


async def test_leaving_while_the_prompt_is_read_stops_the_reading(engine):
    for tenant in ("p", "q", "r", "s"):
        read, hits = await left_while_read(engine, tenant)
        if any(hits):
            break
        # The slot that had read was the oldest, and llama.cpp took it for another of these prompts: nothing is seen.
    assert max(hits) <= read + 3 * STEP
    assert sum(hit > STEP for hit in hits) == 1, "one prompt is read at a time: the others were not begun"


async def test_leaving_the_queue_leaves_it_at_once_and_nobody_else(engine):
    holders = [asyncio.create_task(drain(engine, chat(LONG, max_tokens=800, tenant="h"))) for _ in range(3)]
    await until(lambda: running(engine, 3))
    queued = [asyncio.create_task(drain(engine, chat("Hi", max_tokens=1, tenant="q"))) for _ in range(2)]
    await until(lambda: waiting(engine, 2))
    await leave(queued[0])
    await until(lambda: waiting(engine, 1))
    assert not any(task.done() for task in holders)
    await leave(holders[0])
    await queued[1]
    await leave(*holders)
    await until(lambda: running(engine, 0))
