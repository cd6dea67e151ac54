"""Work that is done now and then."""

from __future__ import annotations

import asyncio

from headrace_kit.errors import NotReady
from headrace_kit.rounds import Rounds


async def test_rounds_go_on_whatever_fails_and_end_when_they_are_stopped(caplog):
    done, enough = [], asyncio.Event()

    async def work() -> None:
        done.append(len(done))
        if len(done) == 1:
            raise NotReady("the store is away")
        if len(done) == 2:
            raise RuntimeError("a fault of ours")
        enough.set()
        await asyncio.Event().wait()

    rounds = Rounds(work, 0, "it did not work")
    rounds.start()
    await asyncio.wait_for(enough.wait(), 30)
    await rounds.stop()
    assert done == [0, 1, 2]
    assert [record.getMessage() for record in caplog.records] == ["it did not work"]
    assert caplog.records[0].exc_info


async def test_rounds_that_never_began_can_be_stopped():
    async def work() -> None:
        raise AssertionError

    await Rounds(work, 0, "").stop()
