"""The queue in front of an engine."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_inference.domain.admission import Admission, Claim
from headrace_kit.errors import Busy, DeadlineExceeded, NotReady


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Line:
    """Requests that stay in the engine until they are let go."""

    def __init__(self, **options) -> None:
        self.refused: list[str] = []
        self.clock = Clock()
        self.admission = Admission("d", clock=self.clock, refused=self.refused.append, **options)
        self.log: list[str] = []
        self.release = asyncio.Event()
        self.tasks: dict[str, asyncio.Task] = {}

    async def hold(self, name: str, claim: Claim) -> None:
        async with self.admission.slot(claim) as slot:
            self.log.append(name)
            await self.release.wait()
            slot.tokens = claim.cost

    async def send(self, name: str, **claim) -> asyncio.Task:
        self.tasks[name] = asyncio.create_task(self.hold(name, Claim(**claim)))
        await settle()
        return self.tasks[name]

    async def serve(self, seconds: float, **claim) -> None:
        """One request that stays for so long."""
        async with self.admission.slot(Claim(**claim)):
            self.clock.now += seconds

    async def end(self) -> None:
        self.release.set()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        assert (self.admission.running, self.admission.waiting, self.admission.used) == (0, 0, 0)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_requests_beyond_the_slots_wait_in_order_of_priority_then_arrival():
    line = Line(slots=1, limit=9)
    for name, priority in (("first", 0), ("late", 0), ("later", 0), ("urgent", 5)):
        await line.send(name, priority=priority)
    assert (line.admission.running, line.admission.waiting, line.log) == (1, 3, ["first"])
    await line.end()
    assert line.log == ["first", "urgent", "late", "later"]


async def test_a_tenant_that_floods_does_not_hold_up_another():
    line = Line(slots=1, limit=50)
    for number in range(20):
        await line.send(f"flood{number}", tenant="flood", cost=500)
    await line.send("other", tenant="other", cost=500)
    await line.end()
    assert line.log.index("other") <= 2


async def test_several_choices_take_several_slots_and_are_not_passed_by():
    line = Line(slots=4, limit=9)
    await line.send("one")
    await line.send("three", slots=3)
    await line.send("four", slots=4)
    await line.send("behind")
    assert (line.log, line.admission.used) == (["one", "three"], 4)
    await line.end()
    assert line.log == ["one", "three", "four", "behind"]


async def test_what_needs_more_slots_than_there_are_takes_all():
    line = Line(slots=2, limit=9)
    await line.send("rows", slots=100)
    await line.send("next")
    assert line.log == ["rows"]
    await line.end()
    assert line.log == ["rows", "next"]


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back():
    line = Line(slots=1, limit=2)
    await line.send("a")
    await line.send("b")
    with pytest.raises(Busy) as refused:
        await (await line.send("c"))
    assert refused.value.retry_after_s > 0
    assert line.refused == ["queue_full"]
    await line.end()
    async with line.admission.slot(Claim()):
        assert line.admission.running == 1


async def test_a_full_queue_makes_room_for_a_small_tenant_at_the_cost_of_the_flood():
    line = Line(slots=1, limit=3)
    for number in range(3):
        await line.send(f"flood{number}", tenant="flood", cost=500)
    await line.send("other", tenant="other", cost=100)
    with pytest.raises(Busy):
        await line.tasks["flood2"]
    assert line.refused == ["displaced"]
    with pytest.raises(Busy):
        await (await line.send("flood3", tenant="flood", cost=500))
    assert line.admission.waiting == 2
    await line.end()
    assert set(line.log) == {"flood0", "flood1", "other"}


async def test_a_request_that_cannot_start_before_its_deadline_is_refused_at_once():
    line = Line(slots=1, limit=9)
    await line.serve(10, cost=1000)  # so a token takes 10 ms
    await line.send("runs", cost=1000)
    line.clock.now += 4
    assert line.admission.wait_s() == pytest.approx(6)
    await line.send("waits", cost=500, tenant="a")
    assert line.admission.wait_s(Claim("a", 500)) == pytest.approx(11)
    with pytest.raises(Busy) as refused:
        await (await line.send("hurried", cost=500, tenant="a", deadline=line.clock.now + 10.9))
    assert refused.value.retry_after_s == 11
    assert line.refused == ["deadline"]
    patient = await line.send("patient", cost=500, tenant="a", deadline=line.clock.now + 11.1)
    assert not patient.done()
    await line.end()


async def test_without_measurements_nobody_is_refused_for_a_deadline():
    line = Line(slots=1, limit=9)
    await line.send("runs", cost=1000)
    waits = await line.send("waits", cost=500, deadline=line.clock.now + 60)
    assert not waits.done()
    await line.end()


async def test_a_deadline_that_passes_in_the_queue_ends_the_wait():
    line = Line(slots=1, limit=9)
    await line.send("runs")
    waits = await line.send("waits", deadline=line.clock.now + 1e-9)
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(waits, 5)
    assert line.refused == ["deadline"]
    assert line.admission.waiting == 0
    await line.end()


async def test_a_cancelled_waiter_leaves_the_queue_and_its_turn_goes_to_the_next():
    line = Line(slots=1, limit=9)
    await line.send("first")
    gone = await line.send("gone")
    await line.send("last")
    gone.cancel()
    await settle()
    assert line.admission.waiting == 1
    await line.end()
    assert line.log == ["first", "last"]


async def test_a_waiter_cancelled_in_the_moment_of_its_turn_passes_the_slot_on():
    line = Line(slots=1, limit=9)
    holder = line.admission.slot(Claim())
    await holder.__aenter__()
    gone = await line.send("gone")
    await line.send("next")
    await holder.__aexit__(None, None, None)  # gives `gone` its turn before it could run
    gone.cancel()
    await settle()
    assert line.log == ["next"]
    await line.end()


async def test_draining_refuses_new_requests_and_waits_for_the_old():
    line = Line(slots=1, limit=9)
    await line.send("old")
    line.admission.draining = True
    with pytest.raises(NotReady):
        await (await line.send("new"))
    drained = asyncio.create_task(line.admission.drained())
    await settle()
    assert not drained.done()
    await line.end()
    await drained


async def test_more_slots_let_waiters_in_at_once():
    line = Line(slots=1, limit=9)
    for name in "abc":
        await line.send(name)
    line.admission.resize(slots=3, limit=9)
    await settle()
    assert line.log == ["a", "b", "c"]
    await line.end()


requests = st.tuples(
    st.sampled_from(["arrive", "end", "cancel", "end and cancel"]), st.sampled_from("ab"), st.integers(1, 3)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(requests, max_size=40), st.integers(1, 4))
def test_no_slot_stays_free_while_somebody_who_fits_waits(steps, slots):
    async def play() -> None:
        admission = Admission("d", slots, 12)
        inside: dict[int, asyncio.Event] = {}
        tasks: dict[int, asyncio.Task] = {}
        needs: dict[int, int] = {}

        async def request(number: int, claim: Claim) -> None:
            async with admission.slot(claim):
                inside[number] = asyncio.Event()
                try:
                    await inside[number].wait()
                finally:
                    del inside[number]

        for number, (step, tenant, places) in enumerate(steps):
            waiting = [n for n, task in tasks.items() if not task.done() and n not in inside]
            if step == "arrive":
                needs[number] = min(places, slots)
                tasks[number] = asyncio.create_task(request(number, Claim(tenant, 100 * places, places)))
            if step.startswith("end") and inside:
                next(iter(inside.values())).set()
            if step.endswith("cancel") and waiting:
                tasks[waiting[0]].cancel()
            await settle()
            running = [n for n, task in tasks.items() if not task.done() and n in inside]
            waiting = [n for n, task in tasks.items() if not task.done() and n not in inside]
            used = sum(needs[n] for n in running)
            assert (admission.running, admission.waiting, admission.used) == (len(running), len(waiting), used)
            assert used <= slots
            free = slots - used
            assert not waiting or any(needs[n] > free for n in waiting), "a wake-up was lost"
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert (admission.running, admission.waiting, admission.used) == (0, 0, 0)
        await admission.drained()

    asyncio.run(play())
