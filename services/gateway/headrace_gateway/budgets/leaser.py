"""Keeps this replica's slices the right size, in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from headrace_gateway.budgets.book import Book
from headrace_gateway.budgets.gone import Gone
from headrace_gateway.budgets.period import DAY_NS, before
from headrace_gateway.budgets.ports import Ask, Grant, LeaseStore, SpendRecord, Unknown
from headrace_gateway.budgets.slices import LAPSE_S, Slice
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError, NotReady

_log = logging.getLogger(__name__)
EVERY_S = 1.0
"""How often a slice in use is reported and renewed."""

_HURRY_S = 0.02
_AWAY_S = 0.5
_PATIENCE_S = 0.2
_ALIVE_S = 60.0


class Leaser:
    """Leases for a book, and takes back what replicas held that are gone.

    `step` talks to the store that replicas share, `tend` to the ledger; each has a task, so that neither waits for the
    other's outage.

    Args:
        book: whose slices they are.
        store: where replicas meet.
        record: the ledger.
        holder: name of this replica: its log's.
        settled: hears after each answer of a slice what is spent of its budget.
        expected: has the book make the slices that requests will need on a day.
        today: days since 1970, in UTC.
    """

    def __init__(
        self,
        book: Book,
        store: LeaseStore,
        record: SpendRecord,
        holder: str,
        settled: Callable[[Slice], None] = lambda _: None,
        expected: Callable[[int], None] = lambda _: None,
        today: Callable[[], int] = lambda: time.time_ns() // DAY_NS,
    ) -> None:
        self._book, self._store, self._record, self._holder = book, store, record, holder
        self._settled, self._expected, self._today = settled, expected, today
        self._gone = Gone(book.clock, store, record, holder)
        self._registered_at: float | None = None
        self._looked = -EVERY_S
        self._unknown: dict[str, tuple[Slice, str]] = {}
        self._tended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._step_always()), asyncio.create_task(self._tend_always())]

    async def stop(self) -> None:
        """Give back what is not spent, if that is quick, and end."""
        await end(*self._tasks)
        with contextlib.suppress(TimeoutError, HeadraceError):
            async with asyncio.timeout(2):
                for slice_ in self._book.all():
                    if slice_.granted or slice_.spent != slice_.reported:
                        await self.ask(slice_, slice_.spent + slice_.reserved)

    async def step(self) -> None:
        """Ask for every slice for which it is time, and forget those that are over."""
        clock, hung = self._book.clock, ""
        began = clock()
        self._expected(self._today())
        await self._look_for_a_new_era(began)
        due = [slice_ for slice_ in self._book.all() if slice_.due(began, _HURRY_S if slice_.waiting else EVERY_S)]
        for slice_ in sorted(due, key=lambda slice_: not slice_.waiting):
            try:
                if hung:
                    raise NotReady(hung)
                await self.ask(slice_, slice_.wanted(clock()))
                if slice_.granted > (wanted := slice_.wanted(clock())):
                    await self.ask(slice_, wanted)  # somebody needs it now, so not only the next time
            except NotReady as error:
                self._failed(slice_, error)
                # One that hangs must not keep the others waiting: they hear the same.
                hung = error.message if clock() - began > _PATIENCE_S else ""
        over = self._book.forget(self._today())
        if over:
            self._gone.forget([slice_.name for slice_ in over])
            with contextlib.suppress(NotReady):
                await self._store.drop([_before(slice_) for slice_ in over])

    async def look(self, slice_: Slice) -> None:
        """Learn how a slice's budget is now. Raises NotReady."""
        await self.ask(slice_, slice_.wanted(self._book.clock()))

    async def ask(self, slice_: Slice, wanted: int) -> None:
        """One exchange with the store about one slice. Raises NotReady.

        Of a budget that the store does not know nothing is leased before `tend` has told it.
        """
        if self._registered_at is None:
            self._tended.set()
            return
        now = self._book.clock()
        if now >= slice_.lapses:
            # Nothing of a slice that lapsed may be promised again; what runs, runs.
            slice_.granted = min(slice_.granted, slice_.spent + slice_.reserved)
        # First given up here, then there: whatever becomes of the call, no more is spent than is known there.
        slice_.let_go(wanted)
        slice_.sequence += 1
        slice_.asked, slice_.reported = now, -1
        sequence, spent, least = slice_.sequence, slice_.spent, slice_.least if wanted >= slice_.least else 0
        answer = await self._store.lease(
            Ask(
                name=slice_.name,
                before=_before(slice_),
                limit=slice_.limit,
                holder=self._holder,
                sequence=sequence,
                spent=spent,
                granted=slice_.granted,
                wanted=max(wanted, slice_.granted),
                least=least,
                era=slice_.era,
            )
        )
        if slice_.sequence != sequence:
            return
        if isinstance(answer, Unknown):
            self._unknown[slice_.name] = (slice_, answer.era)
            slice_.pending = True
            self._tended.set()
            return
        self._take(slice_, answer, spent, least, now)

    def _take(self, slice_: Slice, grant: Grant, spent: int, least: int, asked: float) -> None:
        slice_.granted, slice_.lapses = grant.granted, asked + LAPSE_S
        slice_.short = grant.granted < least
        slice_.reported, slice_.era = spent, grant.era
        slice_.room, slice_.settled = grant.room, grant.settled
        slice_.away, slice_.pending = "", False
        self._gone.seen(slice_, grant.holders)
        self._settled(slice_)
        slice_.answered()

    def _failed(self, slice_: Slice, error: NotReady) -> None:
        if not slice_.away:
            _log.warning("a budget cannot be leased: %s", error.message, extra={"tenant": slice_.tenant})
        slice_.away, slice_.asked = error.message, self._book.clock()
        slice_.answered()

    async def _look_for_a_new_era(self, now: float) -> None:
        """A store that lost its memory grants nothing until everybody has told what they hold, the idle ones too."""
        if now - self._looked < EVERY_S or not self._book.all():
            return
        self._looked = now
        with contextlib.suppress(NotReady):
            era = await self._store.era()
            for slice_ in self._book.all():
                if slice_.era and slice_.era != era:
                    slice_.reported = -1

    async def tend(self) -> None:
        """What needs the ledger: register, tell the store what it does not know, close what is gone."""
        try:
            await self._register()
            for slice_, era in list(self._unknown.values()):
                found = await self._record.spent(slice_.tenant, slice_.period)
                there = {name: spent.nano_usd for name, spent in found.items() if not (spent.finished or spent.lost)}
                over = sum(spent.nano_usd for spent in found.values()) - sum(there.values())
                await self._store.begin(slice_.name, era, over, there)
                slice_.era, slice_.asked = era, 0.0
                self._unknown.pop(slice_.name, None)
        except NotReady as error:
            for slice_ in self._book.all():
                if self._registered_at is None or slice_.name in self._unknown:
                    self._failed(slice_, error)
            return
        finally:
            self._book.wanted.set()
        with contextlib.suppress(NotReady):
            await self._gone.close()

    async def _register(self) -> None:
        now = self._book.clock()
        if self._registered_at is None or now - self._registered_at > _ALIVE_S:
            try:
                await self._record.register(self._holder)
            except NotReady:
                if self._registered_at is None:
                    raise
            self._registered_at = now

    async def _step_always(self) -> None:
        while True:
            await _safely(self.step())
            slices = self._book.all()
            wait_s = _HURRY_S if any(slice_.waiting for slice_ in slices) else EVERY_S / 2
            if any(slice_.away for slice_ in slices):
                wait_s = _AWAY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._book.wanted.wait()
            self._book.wanted.clear()

    async def _tend_always(self) -> None:
        while True:
            await _safely(self.tend())
            # A budget that is asked for anew each time, because it is unknown, is not a reason to hurry.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._tended.wait()
            self._tended.clear()


async def _safely(work: Awaitable[None]) -> None:
    try:
        await work
    except HeadraceError as error:
        _log.warning("budgets cannot be leased: %s", error.message)
    except Exception:
        _log.exception("budgets cannot be leased")


def _before(slice_: Slice) -> str:
    return f"{slice_.tenant}/{before(slice_.budget.per, slice_.period).name}"
