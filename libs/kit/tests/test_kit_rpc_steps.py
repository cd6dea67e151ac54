"""One deadline over many steps."""

from __future__ import annotations

import asyncio

import pytest

from headrace_kit.rpc.steps import Steps


async def numbers(count: int, then: asyncio.Event | None = None):
    for number in range(count):
        yield number
    if then is not None:
        await then.wait()


async def test_items_come_until_there_are_no_more():
    with Steps(numbers(3), None) as steps:
        assert [await steps.next() for _ in range(3)] == [0, 1, 2]
        with pytest.raises(StopAsyncIteration):
            await steps.next()


async def test_waiting_for_an_item_ends_with_the_time():
    never = asyncio.Event()
    items = numbers(1, never)
    with Steps(items, 0.05) as steps:
        assert await steps.next() == 0
        with pytest.raises(TimeoutError):
            await steps.next()
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0, "the task itself was not cancelled"


async def test_the_time_does_not_end_what_consumes_the_items():
    with Steps(numbers(2), 0.01) as steps:
        assert await steps.next() == 0
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            await steps.next()


async def test_a_cancel_from_outside_stays_a_cancel():
    never = asyncio.Event()

    async def consume() -> None:
        with Steps(numbers(0, never), 60) as steps:
            await steps.next()

    task = asyncio.create_task(consume())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_generator_that_swallows_the_cancel_leaves_no_trace_of_it():
    async def stubborn():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield "still here"

    with Steps(stubborn(), 0.01) as steps:
        assert await steps.next() == "still here"
        with pytest.raises(TimeoutError):
            await steps.next()
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0
