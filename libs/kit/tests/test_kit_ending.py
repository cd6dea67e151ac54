"""Tasks end, also those that lose a cancellation."""

from __future__ import annotations

import asyncio

from headrace_kit import ending
from headrace_kit.ending import end


async def test_a_loop_that_loses_a_cancellation_is_cancelled_again(monkeypatch):
    monkeypatch.setattr(ending, "_AGAIN_S", 0.01)
    begun, done, lost = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def command():
        begun.set()
        await done.wait()

    async def loop():
        while True:
            await asyncio.wait_for(command(), 60)
            if asyncio.current_task().cancelling():
                lost.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(loop())
    await begun.wait()
    done.set()
    await end(task)  # the command is done, and who waits for it has not heard of that yet
    assert task.cancelled()
    assert lost.is_set()


async def test_all_end_whatever_they_raise_and_whatever_there_is_not():
    async def failing():
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("in its last words")

    async def over():
        return 1

    tasks = [asyncio.create_task(failing()), asyncio.create_task(over()), asyncio.create_task(asyncio.sleep(60))]
    await asyncio.sleep(0)
    await end(None, *tasks)
    assert all(task.done() for task in tasks)
    assert isinstance(tasks[0].exception(), ValueError)
    await end()
