"""Budgets hold and the ledger tells the truth, whatever races, is lost, comes late, crashes or is forgotten.

Each seed is one interleaving of replicas (their real books and leasers), requests with several attempts, cancels,
crashes, lost and late messages, flushes of the store, outages of both stores, days that begin and budgets that change.
After every step: what is spent, reserved and leased is at most the budget. At the end: the ledger has what was served.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from headrace_gateway.budgets import gone
from headrace_gateway.budgets.book import Book
from headrace_gateway.budgets.fakes import FakeAccount, FakeLeases, FakeSpending
from headrace_gateway.budgets.leaser import Leaser
from headrace_gateway.budgets.period import DAY_NS, period_of
from headrace_gateway.budgets.ports import Ask, Grant, Unknown
from headrace_gateway.budgets.purse import Purse
from headrace_gateway.budgets.slices import Slice
from headrace_kit.config.tenants import Budget
from headrace_kit.errors import Busy, NotReady

DAY = 20_786  # the last day but one of a month
STEPS = 25
DAYS = tuple(Budget(usd=usd, per="day") for usd in ("0.00000012", "0.0000002", "0.0000003"))  # 120 to 300 nano-dollars


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run what never waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


class Impatient(Book):
    """Tells what it would wait for instead of waiting."""

    async def _wait(self, slices: Sequence[Slice], amount: int) -> None:
        for slice_ in slices:
            slice_.waiting = [amount]
        raise Busy("later")


@dataclass
class Wire:
    """A replica's connection to the store: loses messages and answers, and delivers some late."""

    store: FakeLeases
    dice: random.Random
    rough: bool = True
    late: list[Ask] = field(default_factory=list)

    async def lease(self, ask: Ask) -> Grant | Unknown:
        fate = self.dice.random() if self.rough else 1
        if fate < 0.05:
            self.late.append(ask)
        if fate < 0.1:
            raise NotReady("the message was lost")
        answer = await self.store.lease(ask)
        if fate < 0.17:
            raise NotReady("the answer was lost")
        return answer

    def deliver(self) -> None:
        if self.late and not self.store.away:
            run(self._deliver(self.late.pop(self.dice.randrange(len(self.late)))))

    async def _deliver(self, ask: Ask) -> None:
        await self.store.lease(ask)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@dataclass
class Attempt:
    """An attempt that runs: its event is open in its replica's log."""

    day: int
    bound: int
    request: Request


@dataclass
class Request:
    """A request and its purse."""

    purse: Purse
    day: int
    attempts: list[Attempt] = field(default_factory=list)


@dataclass
class Log:
    """A replica's event log: rows that are not in the ledger yet, as (holder, day, cost)."""

    name: str
    rows: list[tuple[str, int, int]] = field(default_factory=list)
    running: list[Attempt] = field(default_factory=list)


class Replica:
    """A gateway."""

    def __init__(self, world: World) -> None:
        world.born += 1
        self.log = Log(f"replica-{world.born}")
        self.book = Impatient(lambda _: world.budgets, lambda: world.clock)
        self.wire = Wire(world.leases, world.dice)
        self.leaser = Leaser(
            self.book,
            self.wire,
            world.record,
            self.log.name,
            expected=lambda day: self.book.expect(["dev"], day),
            today=lambda: world.day,
        )
        self.requests: list[Request] = []
        self.taken_over: list[tuple[str, int]] = []


class World:
    """Everything."""

    def __init__(self, seed: int, leases: FakeLeases) -> None:
        self.dice = random.Random(seed)
        self.leases, self.record = leases, FakeSpending()
        self.clock, self.day, self.born, self.served = 1000.0, DAY, 0, 0
        self.budgets = (DAYS[1], Budget(usd="0.0000005", per="month"))
        self.allowed: dict[str, int] = {}
        self.dead: list[Log] = []
        self.shipped: dict[str, int] = {}
        self.replicas = [Replica(self) for _ in range(self.dice.choice((1, 2, 3)))]

    # What happens

    def step(self) -> None:
        acts = {
            self.arrive: 22, self.attempt: 12, self.pay: 16, self.leave: 12, self.lease: 30, self.tend: 14,
            self.ship: 12, self.crash: 3, self.restart: 5, self.flush: 2, self.late: 4, self.time: 6,
            self.outage: 3, self.midnight: 1, self.change: 2,
        }  # fmt: skip
        act = self.dice.choices(list(acts), list(acts.values()))[0]
        if self.replicas or act == self.restart:
            act()

    def anyone(self) -> Replica:
        return self.dice.choice(self.replicas)

    def arrive(self) -> None:
        replica = self.anyone()
        request = Request(replica.book.open("dev", self.day * DAY_NS + 5), self.day)
        amount = self.dice.choice((1, 20, 60, 100))
        if self._waiting(replica, request.purse.reserve, amount):
            replica.requests.append(request)
            self._begin(replica, request, self.dice.randrange(amount + 1))
        else:
            request.purse.close()

    def _waiting(self, replica: Replica, reserve: Callable[[int], Coroutine[Any, Any, None]], amount: int) -> bool:
        """What a request does: try, and where there is too little wait for the leaser, at most twice."""
        for _ in range(3):
            try:
                run(reserve(amount))
            except Busy:
                self.clock += 0.03
                run(replica.leaser.step())
                run(replica.leaser.tend())
                for slice_ in replica.book.all():
                    slice_.waiting = []
            else:
                return True
        return False

    def attempt(self) -> None:
        """A retry, a hedge, a further stage: within what is held, or beyond it."""
        replica = self.anyone()
        if replica.requests:
            self._begin(replica, self.dice.choice(replica.requests), self.dice.choice((5, 40)))

    def _begin(self, replica: Replica, request: Request, bound: int) -> None:
        if not self._waiting(replica, request.purse.cover, bound):
            return
        attempt = Attempt(request.day, bound, request)
        request.attempts.append(attempt)
        replica.log.running.append(attempt)

    def pay(self) -> None:
        """An attempt ends, or is cancelled: it costs what it had used by then."""
        replica = self.anyone()
        if replica.log.running:
            attempt = self.dice.choice(replica.log.running)
            self._end(replica, attempt)

    def _end(self, replica: Replica, attempt: Attempt) -> None:
        cost = self.dice.choice((0, attempt.bound // 3, attempt.bound))
        attempt.request.purse.paid(attempt.bound, cost, 1)
        attempt.request.attempts.remove(attempt)
        replica.log.running.remove(attempt)
        replica.log.rows.append((replica.log.name, attempt.day, cost))
        self.served += cost

    def leave(self) -> None:
        """A request leaves, or its client does: attempts end first."""
        replica = self.anyone()
        if replica.requests:
            request = replica.requests.pop(self.dice.randrange(len(replica.requests)))
            for attempt in list(request.attempts):
                self._end(replica, attempt)
            request.purse.close()

    def lease(self) -> None:
        replica = self.anyone()
        self.clock += self.dice.choice((0.03, 0.3, 1.1))
        run(replica.leaser.step())
        for slice_ in replica.book.all():
            slice_.waiting = []

    def tend(self) -> None:
        self.clock += 0.2
        run(self.anyone().leaser.tend())

    def ship(self) -> None:
        """Rows reach the ledger, in order."""
        replica = self.anyone()
        if self.record.away:
            return
        count = self.dice.randrange(len(replica.log.rows) + 1)
        self._write(replica.log, count)
        for name, left in replica.taken_over:
            if self.shipped[replica.log.name] >= left:
                self.record.replicas[name] = True

    def _write(self, log: Log, count: int) -> None:
        for holder, day, cost in log.rows[:count]:
            self.record.write("dev", holder, day, cost)
        del log.rows[:count]
        self.shipped[log.name] = self.shipped.get(log.name, 0) + count

    def crash(self) -> None:
        """The process is gone; its log is not, and neither are messages on their way."""
        replica = self.anyone()
        self.replicas.remove(replica)
        self.dead.append(replica.log)
        for ask in replica.wire.late[:1]:
            self.leases.accounts and run(self._late(ask))

    async def _late(self, ask: Ask) -> None:
        if not self.leases.away:
            await self.leases.lease(ask)

    def restart(self) -> None:
        """A new process takes over one dead log: what was open is closed with what the engine counted."""
        if len(self.replicas) < 3:
            self.take_over()

    def take_over(self) -> None:
        replica = Replica(self)
        self.replicas.append(replica)
        if self.dead and not self.record.away:
            log = self.dead.pop(0)
            for attempt in log.running:
                cost = self.dice.choice((0, attempt.bound // 2, attempt.bound))
                replica.log.rows.append((log.name, attempt.day, cost))
                self.served += cost
            log.running = []
            self._write(log, len(log.rows))
            self.shipped.setdefault(replica.log.name, 0)
            replica.taken_over.append((log.name, len(replica.log.rows)))

    def flush(self) -> None:
        self.leases.flush()

    def late(self) -> None:
        self.anyone().wire.deliver()

    def time(self) -> None:
        self.clock += self.dice.choice((1, 5, 40, 1000))

    def outage(self) -> None:
        if self.dice.random() < 0.5:
            self.leases.away = not self.leases.away
        else:
            self.record.away = not self.record.away

    def midnight(self) -> None:
        self.day += 1

    def change(self) -> None:
        self.budgets = (self.dice.choice(DAYS), self.budgets[1])
        for replica in self.replicas:
            replica.book.slices("dev", self.day)

    # What must hold

    def check(self) -> None:
        days: dict[int, int] = dict.fromkeys((self.day - 1, self.day), 0)
        for (_, _, day), cost in self.record.rows.items():
            days[day] = days.get(day, 0) + cost
        for log in (*self.dead, *(replica.log for replica in self.replicas)):
            for _, day, cost in log.rows:
                days[day] = days.get(day, 0) + cost
        for log in self.dead:
            for attempt in log.running:
                days[attempt.day] = days.get(attempt.day, 0) + attempt.bound
        leased: dict[str, int] = {}
        for replica in self.replicas:
            for slice_ in replica.book.all():
                free = slice_.free if self.clock < slice_.lapses else 0
                name = slice_.period.name
                leased[name] = leased.get(name, 0) + slice_.reserved + max(0, free)
        for budget in self.budgets:
            for period in {period_of(budget.per, day) for day in (self.day - 1, self.day)}:
                spent = sum(cost for day, cost in days.items() if period.first <= day < period.end)
                committed = spent + leased.get(period.name, 0)
                # A budget that was made smaller keeps what it had promised, and promises nothing more.
                now = period.first <= self.day < period.end
                allowed = max(budget.nano_usd if now else 0, self.allowed.get(period.name, budget.nano_usd))
                assert committed <= allowed, f"{committed} of {allowed} nano-dollars of {period.name}"
                if now:
                    self.allowed[period.name] = max(budget.nano_usd, committed)

    def settle(self) -> None:
        """Everything is there again: all ends, all is shipped, all is told."""
        self.leases.away = self.record.away = False
        while self.dead or not self.replicas:
            self.take_over()
        for replica in self.replicas:
            replica.wire.rough = False
            for slice_ in replica.book.all():
                slice_.waiting = []
            for request in list(replica.requests):
                for attempt in list(request.attempts):
                    self._end(replica, attempt)
                request.purse.close()
            replica.requests = []
        # Whoever took a log over and died before it could say so: found out after an hour.
        self.record.lost = set(self.record.replicas) - {replica.log.name for replica in self.replicas}
        for replica in self.replicas:
            self._write(replica.log, len(replica.log.rows))
            for name, _left in replica.taken_over:
                self.record.replicas[name] = True
        for _ in range(6):
            for replica in self.replicas:
                self.clock += 400
                run(replica.leaser.step())
                run(replica.leaser.tend())
        assert sum(self.record.rows.values()) == self.served
        for budget in self.budgets:
            period = period_of(budget.per, self.day)
            ledger = sum(cost for (_, _, on), cost in self.record.rows.items() if period.first <= on < period.end)
            account = self.leases.accounts.get(f"dev/{period.name}")
            if account is not None:
                assert (account.settled, account.taken) == (ledger, ledger), "settled is not what the ledger has"


def interleave(seed: int, leases: FakeLeases) -> None:
    """One interleaving."""
    world = World(seed, leases)
    for _ in range(STEPS):
        world.step()
        world.check()
    world.settle()


@pytest.mark.parametrize("first", range(0, 10_000, 1000))
def test_budgets_hold_in_ten_thousand_interleavings(first):
    for seed in range(first, first + 1000):
        interleave(seed, FakeLeases())


def careless(leases: FakeLeases, _: pytest.MonkeyPatch) -> None:
    """The store grants what is asked."""
    leases.checked = False


def hasty(_: FakeLeases, patch: pytest.MonkeyPatch) -> None:
    """After a flush it does not wait until everybody has told what they hold."""
    patch.setattr(FakeAccount, "open", True)


def forgetful(_: FakeLeases, patch: pytest.MonkeyPatch) -> None:
    """A flushed store begins with nothing instead of asking the ledger."""
    real = FakeLeases.begin

    async def begin(self, name, era, spent, holders):
        await real(self, name, era, 0, {})

    patch.setattr(FakeLeases, "begin", begin)


def unordered(_: FakeLeases, patch: pytest.MonkeyPatch) -> None:
    """Messages that come late are believed."""
    real = FakeLeases.lease

    async def lease(self, ask):
        account = self.accounts.get(ask.name)
        if account is not None and ask.holder in account.entries:
            account.entries[ask.holder].sequence = 0
        return await real(self, ask)

    patch.setattr(FakeLeases, "lease", lease)


def heartless(_: FakeLeases, patch: pytest.MonkeyPatch) -> None:
    """Whoever is silent for a second is taken for gone."""
    patch.setattr(gone, "LAPSE_S", 1.0)
    real = FakeSpending.spent

    async def spent(self, tenant, period):
        return {name: replace(found, lost=True) for name, found in (await real(self, tenant, period)).items()}

    patch.setattr(FakeSpending, "spent", spent)


def generous(_: FakeLeases, patch: pytest.MonkeyPatch) -> None:
    """A request takes more than there is."""
    patch.setattr(Slice, "has", lambda self, amount, now: self.free + 5 >= amount)


@pytest.mark.parametrize("fault", [careless, hasty, forgetful, unordered, heartless, generous])
def test_it_would_be_noticed(fault, monkeypatch):
    """Each check that is taken away breaks a budget in some interleaving."""
    with pytest.raises(AssertionError):
        for seed in range(5000):
            leases = FakeLeases()
            fault(leases, monkeypatch)
            interleave(seed, leases)
