"""Money: reserved in memory, spent by the truth, leased in the background."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headrace_gateway.budgets.book import Book
from headrace_gateway.budgets.fakes import FakeLeases, FakeSpending
from headrace_gateway.budgets.leaser import Leaser
from headrace_gateway.budgets.period import DAY_NS, before, period_of
from headrace_gateway.budgets.slices import LAPSE_S
from headrace_gateway.context import Arrival
from headrace_gateway.fakes import Script
from headrace_gateway.routing.table import compile_table
from headrace_kit.config import Snapshot, parse
from headrace_kit.config.tenants import Budget
from headrace_kit.errors import BudgetSpent, Busy, NotReady, Upstream

from .conftest import CONFIG

DAY = 20_785  # 2026-11-28
NOON_NS = DAY * DAY_NS + DAY_NS // 2


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Replica:
    """A book and its leaser."""

    def __init__(self, name, world, budgets):
        self.clock = world.clock
        self.book = Book(lambda tenant: world.budgets, world.clock)
        self.leaser = Leaser(self.book, world.leases, world.record, name, today=lambda: world.day)
        self.name = name

    def open(self, at=NOON_NS):
        return self.book.open("dev", at)

    async def tick(self, rounds=3):
        for _ in range(rounds):
            await self.leaser.step()
            await self.leaser.tend()

    @asynccontextmanager
    async def leasing(self):
        """Let the leaser work whenever somebody waits."""

        async def work():
            while True:
                await self.book.wanted.wait()
                self.book.wanted.clear()
                self.clock.now += 0.05
                await self.leaser.step()
                await self.leaser.tend()
                if any(slice_.waiting for slice_ in self.book.all()):
                    self.book.wanted.set()
                await asyncio.sleep(0)

        task = asyncio.create_task(work())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class World:
    """Stores and a clock that replicas share."""

    def __init__(self, usd="0.000001", **more):
        self.clock, self.leases, self.record, self.day = Clock(), FakeLeases(), FakeSpending(), DAY
        self.budgets = (Budget(usd=usd, per="day", **more),)  # 1,000 nano-dollars

    def replica(self, name="a"):
        return Replica(name, self, self.budgets)


def test_periods_are_days_and_months_of_utc():
    assert period_of("day", DAY).name == "day:2026-11-28"
    month = period_of("month", DAY)
    assert (month.name, month.end - month.first, before("month", month).name) == ("month:2026-11", 30, "month:2026-10")
    assert month.resets_at.isoformat() == "2026-12-01T00:00:00+00:00"
    assert period_of("month", period_of("month", DAY + 40).first - 1).name == "month:2026-12"


async def test_the_first_request_waits_for_a_slice_and_the_next_does_not():
    replica = World().replica()
    async with replica.leasing():
        first = replica.open()
        await first.reserve(100)
    second = replica.open()
    await second.reserve(40)  # nobody leases any more: from memory
    assert (first.held, second.held) == (100, 40)
    first.paid(0, 70, 5)
    first.close()
    second.close()
    [slice_] = replica.book.all()
    assert (slice_.spent, slice_.reserved) == (70, 0)


async def test_a_budget_that_is_spent_refuses_and_says_what_is_left():
    replica = World().replica()
    async with replica.leasing():
        purse = replica.open()
        await purse.reserve(900)
        purse.paid(0, 900, 1)
        purse.close()
        replica.clock.now += 2
        await replica.tick()
        with pytest.raises(BudgetSpent, match=r"up to \$0.0000002 and \$0.0000001 are left.*2026-11-29T00:00:00Z"):
            await replica.open().reserve(200)
        await replica.open().reserve(100)


async def test_what_is_reserved_elsewhere_is_not_spent_yet():
    replica = World().replica()
    async with replica.leasing():
        other = replica.open()
        await other.reserve(900)
        with pytest.raises(Busy, match="reserved for requests that still run"):
            await replica.open().reserve(200)
        other.close()
        await replica.open().reserve(200)


async def test_a_replica_that_does_nothing_gives_back_what_another_needs():
    world = World()
    one, two = world.replica("one"), world.replica("two")
    async with one.leasing(), two.leasing():
        purse = one.open()
        await purse.reserve(900)
        purse.close()
        world.clock.now += 40
        await one.tick()
        await two.open().reserve(1000)


async def test_further_attempts_are_covered_or_refused():
    replica = World().replica()
    async with replica.leasing():
        purse = replica.open()
        await purse.reserve(100)
        await purse.cover(100)
        assert purse.held == 100
        await purse.cover(100)  # a hedge beside it
        assert purse.held == 200
        purse.paid(100, 100, 1)
        await purse.cover(50)
        assert purse.held == 150
        with pytest.raises(Busy):
            await purse.cover(900)


async def test_while_the_store_is_away_the_slice_is_spent_and_then_nothing():
    world = World()
    replica = world.replica()
    async with replica.leasing():
        purse = replica.open()
        await purse.reserve(500)
        purse.close()
        world.leases.away = True
        world.clock.now += 2
        await replica.tick()
        await replica.open().reserve(400)
        with pytest.raises(NotReady, match="budget cannot be checked now"):
            await replica.open().reserve(400)


async def test_a_slice_that_cannot_be_renewed_lapses():
    world = World()
    replica = world.replica()
    async with replica.leasing():
        await replica.open().reserve(500)
        world.leases.away = True
        world.clock.now += LAPSE_S + 1
        with pytest.raises(NotReady):
            await replica.open().reserve(1)


async def test_an_open_budget_serves_on_and_counts():
    world = World(fail="open")
    replica = world.replica()
    world.leases.away = True
    async with replica.leasing():
        purse = replica.open()
        await purse.reserve(900)
        purse.paid(0, 1300, 1)
        purse.close()
        world.leases.away = False
        world.clock.now += 2
        await replica.tick()
        assert world.leases.accounts["dev/day:2026-11-28"].settled == 1300
        with pytest.raises(BudgetSpent):
            await replica.open().reserve(1)


async def test_a_ledger_that_is_away_keeps_nobody_from_a_known_budget():
    world = World()
    replica = world.replica()
    async with replica.leasing():
        await replica.open().reserve(10)
        world.record.away = True
        world.clock.now += 2
        await replica.tick()
        await replica.open().reserve(500)
        world.leases.flush()
        world.clock.now += 2
        await replica.tick()
        with pytest.raises(NotReady, match="ledger is away"):
            await replica.open().reserve(490)
        world.record.away = False
        world.clock.now += 2
        await replica.tick()
        await replica.open().reserve(490)


async def test_after_a_flush_nothing_is_granted_before_everybody_has_told():
    world = World()
    one, two = world.replica("one"), world.replica("two")
    async with one.leasing(), two.leasing():
        held = two.open()
        await held.reserve(600)
        paid = one.open()
        await paid.reserve(100)
        paid.paid(0, 100, 1)
        paid.close()
        world.record.write("dev", "one", DAY, 60)  # 40 are not shipped yet
        world.leases.flush()
        world.clock.now += 2
        await one.tick()
        account = world.leases.accounts["dev/day:2026-11-28"]
        assert (account.settled, account.entries["two"].granted) == (100, None)
        with pytest.raises(Busy):
            await one.open().reserve(800)
        await two.tick()
        await one.open().reserve(200)
        assert account.taken <= 1000


async def test_what_a_crash_held_is_free_when_the_ledger_says_what_it_spent():
    world = World()
    one, two = world.replica("one"), world.replica("two")
    async with two.leasing():
        async with one.leasing():
            purse = one.open()
            await purse.reserve(900)  # and dies
        await two.open().reserve(50)
        with pytest.raises(Busy):
            await two.open().reserve(500)
        world.record.write("dev", "one", DAY, 300)
        world.record.replicas["one"] = True
        world.clock.now += 5
        await two.tick()
        await two.open().reserve(500)
        account = world.leases.accounts["dev/day:2026-11-28"]
        assert (account.base, account.settled) == (300, 300)


async def test_what_a_lost_log_held_is_free_after_a_while():
    world = World()
    one, two = world.replica("one"), world.replica("two")
    async with two.leasing():
        async with one.leasing():
            await one.open().reserve(900)
        await two.open().reserve(50)
        world.record.lost.add("one")
        world.clock.now += LAPSE_S / 2
        await two.tick()
        with pytest.raises(Busy):
            await two.open().reserve(500)
        world.clock.now += LAPSE_S
        await two.tick()
        await two.open().reserve(500)


async def test_a_new_day_begins_without_the_ledger():
    world = World()
    replica = world.replica()
    async with replica.leasing():
        purse = replica.open()
        await purse.reserve(1000)
        world.record.away = True
        world.day += 1
        tomorrow = replica.open(NOON_NS + DAY_NS)
        await tomorrow.reserve(1000)
        purse.paid(0, 800, 1)
        purse.close()
        world.clock.now += 2
        await replica.tick()
        accounts = world.leases.accounts
        assert accounts["dev/day:2026-11-28"].settled == 800
        assert accounts["dev/day:2026-11-29"].settled == 0
        world.day += 1
        world.clock.now += 40
        await replica.tick()
        assert [slice_.period.first for slice_ in replica.book.all()] == [DAY + 1]


async def test_a_budget_that_is_changed_holds_at_once_and_counts_what_was_spent():
    world = World()
    world.budgets = ()
    replica = world.replica()
    purse = replica.open()
    purse.paid(0, 700, 1)
    purse.close()
    world.budgets = (Budget(usd="0.000001", per="day"), Budget(usd="0.01", per="month"))
    async with replica.leasing():
        with pytest.raises(BudgetSpent):
            await replica.open().reserve(400)
        world.budgets = (Budget(usd="0.000002", per="day"), Budget(usd="0.01", per="month"))
        await replica.open().reserve(400)
        world.budgets = (Budget(usd="0.0000005", per="day"),)
        with pytest.raises(BudgetSpent):
            await replica.open().reserve(1)


async def test_stopping_gives_back_everything():
    world = World()
    replica = world.replica()
    async with replica.leasing():
        purse = replica.open()
        await purse.reserve(500)
        purse.paid(0, 20, 1)
        purse.close()
    await replica.leaser.stop()
    account = world.leases.accounts["dev/day:2026-11-28"]
    assert (account.taken, account.settled) == (20, 20)


@pytest.fixture
def paying(rig):
    """The rig with a budget of ten dollars for dev, of which everything is leased."""
    text = CONFIG.replace("dev: {limits", "dev: {budget: {usd: 10, per: month}, limits")
    rig.table = compile_table(Snapshot(parse(text), Path("headrace.yaml")))
    return rig


async def visit(rig):
    made = rig.door.open(Arrival("POST /v1/chat/completions", authorization="Bearer hr_dev"))
    await rig.door.admit(made)
    for slice_ in rig.book.all():
        slice_.granted, slice_.lapses, slice_.pending = slice_.limit, rig.clock() + 100, False
    return made


async def test_a_cascade_is_reserved_whole_and_settled_by_its_events(paying, ask):
    paying.engine.scripts = {"small": [Script(["maybe"], logprob=-3)], "large": [Script(["yes", "!"])]}
    inside = await visit(paying)
    call = ask("assistant")
    call.sampling.max_tokens = 100
    answer = await paying.pipeline.generate(inside.ctx, call)
    [slice_] = paying.book.all()
    assert slice_.reserved >= 100 * (2_000 + 20_000)
    await answer.whole()
    inside.leave(200)
    cost = sum(event.cost_nano_usd for event in paying.closed())
    assert cost == inside.ctx.cost_nano_usd > 0
    assert (slice_.spent, slice_.reserved) == (cost, 0)
    assert {event.budget_day for event in paying.closed()} == {inside.ctx.started_ns // DAY_NS}


async def test_a_client_that_leaves_pays_for_what_was_made_and_nothing_else(paying, ask):
    paying.engine.scripts = {"small": [Script(["one", "two"], hang=True)]}
    inside = await visit(paying)
    answer = await paying.pipeline.generate(inside.ctx, ask("plain", stream=True))
    await answer.aclose()
    inside.leave(499, asyncio.CancelledError())
    [slice_] = paying.book.all()
    assert slice_.reserved == 0
    assert slice_.spent == sum(event.cost_nano_usd for event in paying.closed()) > 0


async def test_retries_and_fallbacks_stay_within_the_reservation(paying, ask):
    paying.engine.scripts = {"small": [Script([], error=Upstream("no"))], "spare": [Script(["ok"])]}
    inside = await visit(paying)
    await (await paying.pipeline.generate(inside.ctx, ask("sturdy"))).whole()
    inside.leave(200)
    [slice_] = paying.book.all()
    assert (slice_.reserved, slice_.spent) == (0, 0)  # the spare costs nothing


async def test_no_budget_no_answer(paying, ask):
    inside = await visit(paying)
    [slice_] = paying.book.all()
    slice_.settled = slice_.spent = slice_.granted = slice_.limit
    with pytest.raises(BudgetSpent, match=r"\$10 a month is spent: wait until"):
        await paying.pipeline.generate(inside.ctx, ask("plain"))
    assert paying.engine.calls == []
    inside.leave(402)


async def test_what_costs_nothing_needs_no_budget(paying, ask):
    inside = await visit(paying)
    [slice_] = paying.book.all()
    slice_.settled = slice_.spent = slice_.granted = slice_.limit
    paying.engine.scripts = {"tuned": [Script(["free"])]}
    await (await paying.pipeline.generate(inside.ctx, ask("lawyer"))).whole()
    inside.leave(200)
