"""All budgets of this replica, in memory: requests reserve from them and pay into them without any store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from headrace_gateway.budgets.period import DAY_NS, period_of
from headrace_gateway.budgets.purse import Purse
from headrace_gateway.budgets.slices import Slice
from headrace_gateway.outcome import usd
from headrace_kit.config.tenants import Budget
from headrace_kit.errors import BudgetSpent, Busy, NotReady

_WAIT_S = 2.0
"""Longest wait for a larger slice: for the store, and for other replicas to give back what they do not need."""

_KEPT_DAYS = 33


class Book:
    """Slices by tenant, and what this replica has spent.

    Args:
        budgets: a tenant's budgets as they are now.
        clock: seconds that never run backwards.
    """

    def __init__(self, budgets: Callable[[str], Sequence[Budget]], clock: Callable[[], float] = time.monotonic) -> None:
        self._budgets, self.clock = budgets, clock
        self._slices: dict[tuple[str, str, int], Slice] = {}
        self._current: dict[str, tuple[Sequence[Budget], int, tuple[Slice, ...]]] = {}
        self._spent: dict[tuple[str, int], int] = {}
        self.wanted = asyncio.Event()
        """Set when somebody waits for a larger slice."""

    def open(self, tenant: str, started_ns: int) -> Purse:
        """The purse of a request that arrived `started_ns` nanoseconds after 1970: its day pays for all of it."""
        day = started_ns // DAY_NS

        def spent(cost: int) -> None:
            self._spent[tenant, day] = self._spent.get((tenant, day), 0) + cost

        return Purse(self.slices(tenant, day), self._take, self._wait, spent)

    def slices(self, tenant: str, day: int) -> tuple[Slice, ...]:
        """This replica's slices of a tenant's budgets on a day."""
        budgets = self._budgets(tenant)
        known = self._current.get(tenant)
        if known is not None and known[0] is budgets and known[1] == day:
            return known[2]
        found = tuple(self._slice(tenant, budget, day) for budget in budgets)
        self._current[tenant] = (budgets, day, found)
        return found

    def expect(self, tenants: Iterable[str], day: int) -> None:
        """Have the slices of these tenants, so that they are known before the day's first request."""
        for tenant in tenants:
            for budget in self._budgets(tenant):
                self._slice(tenant, budget, day)

    def all(self) -> list[Slice]:
        """Every slice that is there."""
        return list(self._slices.values())

    def forget(self, day: int) -> list[Slice]:
        """Drop what is over and settled, as of a day; returns the slices that were dropped."""
        done = [
            (key, slice_)
            for key, slice_ in self._slices.items()
            if slice_.period.end < day and not slice_.reserved and slice_.reported == slice_.spent == slice_.granted
        ]
        for key, _ in done:
            del self._slices[key]
        for name in [key for key in self._spent if key[1] < day - _KEPT_DAYS]:
            del self._spent[name]
        return [slice_ for _, slice_ in done]

    def _slice(self, tenant: str, budget: Budget, day: int) -> Slice:
        period = period_of(budget.per, day)
        key = (tenant, budget.per, period.first)
        slice_ = self._slices.get(key)
        if slice_ is None:
            before = sum(self._spent.get((tenant, that), 0) for that in range(period.first, period.end))
            slice_ = self._slices[key] = Slice(tenant, budget, period, before)
        elif slice_.budget is not budget:
            slice_.revise(budget)
        return slice_

    def _take(self, slices: Sequence[Slice], amount: int) -> bool:
        """Reserve from all slices, or from none."""
        now = self.clock()
        for slice_ in slices:
            slice_.used_at = now
            if not slice_.has(amount, now):
                return False
        for slice_ in slices:
            slice_.reserved += amount
        return True

    async def _wait(self, slices: Sequence[Slice], amount: int) -> None:
        """Reserve when the slices have grown. Raises as `Purse.reserve`."""
        until = self.clock() + _WAIT_S
        while True:
            now = self.clock()
            short = [slice_ for slice_ in slices if not slice_.has(amount, now)]
            late = now >= until
            for slice_ in short:
                if slice_.over(amount):
                    raise _spent(slice_, amount)
            unsure = [slice_ for slice_ in short if slice_.away or (late and slice_.pending)]
            for slice_ in unsure:
                if slice_.budget.fail == "closed":
                    reason = slice_.away or "the store that replicas share it through is asked"
                    raise NotReady(
                        f"your team's budget cannot be checked now: {reason}",
                        code="budget_unavailable",
                        retry_after_s=1,
                    )
            if len(unsure) == len(short):
                for slice_ in slices:
                    slice_.reserved += amount
                return
            if late:
                raise Busy(
                    "what is left of your team's budget is reserved for requests that still run; try again when they "
                    "have ended",
                    code="budget_reserved",
                    retry_after_s=1,
                )
            await self._grow(next(slice_ for slice_ in short if slice_ not in unsure), amount, until - now)

    async def _grow(self, slice_: Slice, amount: int, most_s: float) -> None:
        slice_.waiting.append(amount)
        answer = slice_.answer
        self.wanted.set()
        try:
            async with asyncio.timeout(most_s):
                await answer.wait()
        except TimeoutError:
            pass
        finally:
            slice_.waiting.remove(amount)


def _spent(slice_: Slice, amount: int) -> BudgetSpent:
    left = max(0, slice_.limit - max(slice_.settled, slice_.spent))
    resets = slice_.period.resets_at.isoformat().replace("+00:00", "Z")
    needs = f"; this request needs up to ${usd(amount)} and ${usd(left)} are left" if left else ""
    hint = ": lower max_tokens, or wait until" if left else ": wait until"
    return BudgetSpent(
        f"your team's budget of ${usd(slice_.limit)} a {slice_.budget.per} is spent{needs}{hint} {resets}, "
        "or ask for a larger budget"
    )
