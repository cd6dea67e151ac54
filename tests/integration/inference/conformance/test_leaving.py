"""Nothing is generated for nobody."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from inference_suite.answers import gather
from inference_suite.waiting import until

COUNT = "Count from one to a thousand in words."


async def _idle(subject) -> bool:
    return await subject.running() == 0


async def _busy(subject, count: int) -> bool:
    return await subject.running() >= count


async def test_closing_in_the_middle_frees_the_engine(subject):
    stream = subject.engine.generate(subject.chat(COUNT, max_tokens=subject.many_tokens, temperature=0))
    await anext(stream)
    await until(lambda: _busy(subject, 1))
    await stream.aclose()
    await until(lambda: _idle(subject))
    assert (await gather(subject.engine, subject.chat("Hi", max_tokens=3))).usage.output_tokens <= 3


async def test_cancelling_the_task_frees_the_engine(subject):
    asked = subject.chat(COUNT, max_tokens=subject.many_tokens, temperature=0)
    task = asyncio.create_task(gather(subject.engine, asked))
    await until(lambda: _busy(subject, 1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: _idle(subject))


async def test_leaving_while_queued_or_while_the_prompt_is_read_frees_the_engine(subject):
    if reason := subject.elsewhere.get("queue"):
        pytest.skip(reason)
    running = [
        asyncio.create_task(gather(subject.engine, subject.chat(COUNT, max_tokens=subject.many_tokens, temperature=0)))
        for _ in range(subject.slots)
    ]
    await until(lambda: _busy(subject, subject.slots))
    long = subject.chat("word " * (subject.long_words // 4), max_tokens=subject.many_tokens // 4)
    waiting = asyncio.create_task(gather(subject.engine, long))
    await until(lambda: _busy(subject, subject.slots + 1))
    waiting.cancel()
    running.pop().cancel()
    reading = asyncio.create_task(gather(subject.engine, long))
    await until(lambda: _busy(subject, subject.slots))
    for task in (*running, reading):
        task.cancel()
    for task in (waiting, reading, *running):
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await until(lambda: _idle(subject))
    assert (await gather(subject.engine, subject.chat("Hi", max_tokens=3))).usage.output_tokens <= 3


async def test_leaving_before_the_first_step_asks_nothing_of_the_engine(subject):
    await subject.engine.generate(subject.chat(COUNT, max_tokens=subject.many_tokens, temperature=0)).aclose()
    assert await subject.running() == 0
