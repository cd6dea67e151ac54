"""Limits of a cent, or of a request a minute, over several gateways that meet in a real Valkey."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from redis.asyncio import Redis

from headrace_gateway.adapters.valkey_budgets import ValkeyLeases
from headrace_gateway.adapters.valkey_rates import ValkeyRates
from headrace_gateway.admission.rates import RateBook
from headrace_gateway.admission.shares import Sharer
from headrace_gateway.budgets.book import Book
from headrace_gateway.budgets.fakes import FakeSpending
from headrace_gateway.budgets.leaser import Leaser
from headrace_gateway.budgets.period import DAY_NS
from headrace_gateway.budgets.slices import Slice
from headrace_kit.config.tenants import Budget, Limits
from headrace_kit.errors import BudgetSpent, Busy
from headrace_kit.stores.valkey import connect

CONFIG = "tenants: {dev: {}}\n"
SERVICES = ("valkey",)
CENT = 10_000_000
DAY = time.time_ns() // DAY_NS
NAMES = ("a", "b", "c")


@pytest.fixture
async def valkey(part):
    client: Redis = connect((part.platform.layout.secrets / "valkey-url").read_text().strip())
    await client.flushall()
    yield client
    await client.aclose()


class Replica:
    """A gateway's part of a tenant's budget of one cent."""

    def __init__(self, name: str, valkey: Redis, record: FakeSpending) -> None:
        budgets = (Budget(usd="0.01", per="day"),)
        self.book = Book(lambda _: budgets)
        self.leaser = Leaser(
            self.book, ValkeyLeases(valkey), record, name, expected=lambda day: self.book.expect(["dev"], day),
            today=lambda: DAY,
        )  # fmt: skip

    @property
    def slice(self) -> Slice:
        return self.book.slices("dev", DAY)[0]

    async def request(self, bound: int, cost: int) -> None:
        """Raises as `Purse.reserve`."""
        purse = self.book.open("dev", DAY * DAY_NS)
        try:
            await purse.cover(bound)
            await asyncio.sleep(0)
            purse.paid(bound, cost, 1)
        finally:
            purse.close()


@pytest.fixture
async def replicas(valkey):
    record = FakeSpending()
    made = [Replica(name, valkey, record) for name in NAMES]
    for replica in made:
        replica.leaser.start()
    yield made
    for replica in made:
        await replica.leaser.stop()


def committed(replicas: list[Replica]) -> int:
    """Settled, reserved and leased, over all replicas."""
    return sum(each.slice.spent + each.slice.reserved + max(0, each.slice.free) for each in replicas)


@pytest.mark.parametrize(("bound", "cost"), [(6_000_000, 2_000_000), (900_000, 900_000), (2_500_000, 10_000)])
async def test_replicas_that_all_want_more_than_their_part_spend_the_whole_cent_and_no_more(replicas, bound, cost):
    served = dict.fromkeys(NAMES, 0)
    enough = 150

    async def customer(name: str, replica: Replica) -> None:
        """Sends one request after the other until the budget is spent."""
        while sum(served.values()) < enough:
            try:
                await replica.request(bound, cost)
                served[name] += 1
            except Busy:
                await asyncio.sleep(0.01)
            except BudgetSpent:
                return
            assert committed(replicas) <= CENT

    async with asyncio.timeout(240), asyncio.TaskGroup() as group:
        for name, replica in zip(NAMES, replicas, strict=True):
            group.create_task(customer(name, replica))
            group.create_task(customer(name, replica))
    spent = sum(each.slice.spent for each in replicas)
    assert spent == cost * sum(served.values()) <= CENT
    # All that a request could be promised from was used: nobody sat on what another one needed.
    assert spent + bound > CENT or sum(served.values()) >= enough


async def test_what_one_replica_leased_ahead_another_one_gets_while_it_waits(replicas):
    one, two, _ = replicas
    await one.request(100_000, 100_000)
    async with asyncio.timeout(120):
        while not one.slice.free:  # it leases a little ahead
            await asyncio.sleep(0.01)
    everything_else = CENT - 100_000
    async with asyncio.timeout(120):
        while True:
            try:
                await two.request(everything_else, 0)
                break
            except Busy:
                pass
    assert committed(replicas) <= CENT


async def test_one_request_a_minute_is_no_more_over_replicas(valkey):
    now = 1000.0
    books = [RateBook(lambda: now) for _ in NAMES]
    sharers = [Sharer(book, ValkeyRates(valkey), name) for book, name in zip(books, NAMES, strict=True)]
    limits = Limits(requests_per_minute=1)
    dice, served, minutes = random.Random(1), 0, 20
    for sharer in sharers:
        await sharer.step()
    for _ in range(minutes * 6):
        try:
            dice.choices(books, (8, 2, 1))[0].enter("dev", limits)
            served += 1
        except Busy:
            pass
        for _ in range(10):
            for sharer in sharers:
                await sharer.step()
            now += 1
    assert minutes / 2 <= served <= minutes + len(NAMES)
