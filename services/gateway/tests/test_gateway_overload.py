"""Refusing what the event loop cannot serve in time."""

from __future__ import annotations

import asyncio
import time

import pytest

from headrace_gateway.admission.overload import LoopLag
from headrace_gateway.context import Arrival
from headrace_kit.errors import Busy


def test_a_standing_delay_refuses_and_a_single_one_does_not():
    told = []
    lag = LoopLag(lambda: 0.2, told.append)
    for late in (0.0, *[3.0] * 9):
        lag.late(late)
    lag.check()
    lag.late(0.25)
    assert lag.standing_s == told[-1] == 0.25
    with pytest.raises(Busy) as caught:
        lag.check()
    assert (caught.value.code, caught.value.retry_after_s) == ("overloaded", 1)
    lag.late(0.01)
    lag.check()


def test_a_limit_of_nothing_refuses_nothing():
    lag = LoopLag(lambda: 0)
    for _ in range(20):
        lag.late(9)
    lag.check()


async def test_the_loop_is_looked_at():
    seen = asyncio.Event()
    lag = LoopLag(lambda: 0.01, lambda _: lag.standing_s and seen.set())
    lag.start()
    try:
        async with asyncio.timeout(30):
            while not seen.is_set():
                time.sleep(0.1)
                await asyncio.sleep(0)
        with pytest.raises(Busy):
            lag.check()
    finally:
        lag.stop()


async def test_the_door_refuses_while_the_loop_is_late(rig):
    for _ in range(10):
        rig.lag.late(1)
    visit = rig.door.open(Arrival("x", authorization="Bearer hr_dev"))
    with pytest.raises(Busy) as caught:
        await rig.door.admit(visit)
    visit.leave(429, caught.value)
    assert caught.value.code == "overloaded" and rig.in_flight.total == 0
    rig.lag.late(0)
    visit = rig.door.open(Arrival("x", authorization="Bearer hr_dev"))
    await rig.door.admit(visit)
    visit.leave(200)
