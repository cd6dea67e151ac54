"""The queue in front of an engine."""

from __future__ import annotations

import asyncio

import pytest

from headrace_inference.domain.admission import Admission
from headrace_kit.errors import Busy, NotReady


async def hold(admission: Admission, release: asyncio.Event, log: list[str], name: str, priority: int = 0) -> None:
    async with admission.slot(priority):
        log.append(name)
        await release.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_requests_beyond_the_slots_wait_in_order_of_priority_then_arrival():
    admission, release, log = Admission("d", slots=1, limit=9), asyncio.Event(), []
    tasks = []
    for name, priority in (("first", 0), ("late", 0), ("later", 0), ("urgent", 5)):
        tasks.append(asyncio.create_task(hold(admission, release, log, name, priority)))
        await settle()
    assert (admission.running, admission.waiting, log) == (1, 3, ["first"])
    release.set()
    await asyncio.gather(*tasks)
    assert log == ["first", "urgent", "late", "later"]
    assert (admission.running, admission.waiting) == (0, 0)


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back():
    admission, release, log = Admission("d", slots=1, limit=2), asyncio.Event(), []
    tasks = [asyncio.create_task(hold(admission, release, log, str(n))) for n in range(2)]
    await settle()
    with pytest.raises(Busy) as refused:
        async with admission.slot():
            pass
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s > 0
    release.set()
    await asyncio.gather(*tasks)
    async with admission.slot():
        assert admission.running == 1


async def test_a_cancelled_waiter_leaves_the_queue_and_its_turn_goes_to_the_next():
    admission, release, log = Admission("d", slots=1, limit=9), asyncio.Event(), []
    first = asyncio.create_task(hold(admission, release, log, "first"))
    await settle()
    gone = asyncio.create_task(hold(admission, release, log, "gone"))
    await settle()
    last = asyncio.create_task(hold(admission, release, log, "last"))
    await settle()
    gone.cancel()
    await settle()
    assert admission.waiting == 1
    release.set()
    await asyncio.gather(first, last)
    assert log == ["first", "last"]


async def test_a_waiter_cancelled_in_the_moment_of_its_turn_passes_the_slot_on():
    admission, release, log = Admission("d", slots=1, limit=9), asyncio.Event(), []
    holder = admission.slot()
    await holder.__aenter__()
    gone = asyncio.create_task(hold(admission, release, log, "gone"))
    await settle()
    next_one = asyncio.create_task(hold(admission, release, log, "next"))
    await settle()
    await holder.__aexit__(None, None, None)  # gives `gone` its turn before it could run
    gone.cancel()
    await settle()
    assert log == ["next"]
    release.set()
    await next_one
    assert (admission.running, admission.waiting) == (0, 0)


async def test_draining_refuses_new_requests_and_waits_for_the_old():
    admission, release, log = Admission("d", slots=1, limit=9), asyncio.Event(), []
    task = asyncio.create_task(hold(admission, release, log, "old"))
    await settle()
    admission.draining = True
    with pytest.raises(NotReady):
        async with admission.slot():
            pass
    drained = asyncio.create_task(admission.drained())
    await settle()
    assert not drained.done()
    release.set()
    await drained
    await task


async def test_more_slots_let_waiters_in_at_once():
    admission, release, log = Admission("d", slots=1, limit=9), asyncio.Event(), []
    tasks = [asyncio.create_task(hold(admission, release, log, str(n))) for n in range(3)]
    await settle()
    admission.resize(slots=3, limit=9)
    await settle()
    assert log == ["0", "1", "2"]
    release.set()
    await asyncio.gather(*tasks)
