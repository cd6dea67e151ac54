"""Work under a lease is cut off when another replica has it, also where a cancellation is lost on the way."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from headrace_rollout.domain.leased import Leased, Lost

PLACE = ("rollout", 0)


class Taken:
    """A store whose lease is another replica's by now."""

    async def renew(self, *_) -> bool:
        return False


class Work(Leased):
    def _wanted(self, records):
        return {}

    async def _once(self, record, name: str) -> bool:
        return True


@pytest.fixture
def work() -> Work:
    return Work(Taken(), "one", lambda: None, lease_s=0.003, again_s=0.005)


async def test_it_is_cut_off(work):
    with pytest.raises(Lost):
        async with work._renewing(PLACE):
            await asyncio.Event().wait()
    assert not asyncio.current_task().cancelling()


async def test_it_is_cut_off_where_one_cancellation_is_lost(work):
    lost = 0
    async with asyncio.timeout(20):
        with pytest.raises(Lost):
            async with work._renewing(PLACE):
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    lost += 1
                await asyncio.Event().wait()
    assert lost == 1 and not asyncio.current_task().cancelling()


async def test_whoever_else_cancels_it_is_heard(work):
    async def held() -> None:
        async with work._renewing(PLACE):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            asyncio.current_task().cancel()
            await asyncio.Event().wait()

    task = asyncio.create_task(held())
    await asyncio.wait([task])
    assert task.cancelled()
