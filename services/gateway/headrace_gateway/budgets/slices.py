"""This replica's part of a budget: how much it may spend, and how much of that is spent or reserved."""

from __future__ import annotations

import asyncio

from headrace_gateway.budgets.period import Period
from headrace_kit.config.tenants import Budget

LAPSE_S = 900.0
"""A slice that could not be renewed for so long is not spent any more: from then on others may get it."""

IDLE_S = 30.0
_CUSHION = 20
"""A busy replica leases a twentieth of the budget ahead, as long as there is more than twice that left."""


class Slice:
    """One budget of one tenant in one period, as leased by this replica. Amounts are nano-dollars.

    `granted` is a running total, as `spent` is: what may be spent is `granted - spent - reserved`. Nothing here waits.

    Args:
        tenant: whose budget it is.
        budget: how much.
        period: when.
        spent: what this replica has spent of it already.
    """

    __slots__ = (
        "answer",
        "asked",
        "away",
        "budget",
        "era",
        "granted",
        "lapses",
        "limit",
        "pending",
        "period",
        "reported",
        "reserved",
        "room",
        "sequence",
        "settled",
        "short",
        "spent",
        "tenant",
        "used_at",
        "waiting",
    )

    def __init__(self, tenant: str, budget: Budget, period: Period, spent: int = 0) -> None:
        self.tenant, self.period = tenant, period
        self.spent, self.reserved, self.granted, self.reported = spent, 0, 0, -1
        self.waiting: list[int] = []
        """The amounts that wait for a larger slice."""
        self.short = False
        """The store heard that what waits needs more than there was."""
        self.lapses = 0.0
        self.used_at = 0.0
        """When it was asked for money last, on the clock of `lapses`."""
        self.settled = 0
        """What all replicas have spent, as of the last answer; it never shrinks."""
        self.asked, self.sequence = 0.0, 0
        self.away = ""
        """Why the store did not answer last time; empty when it did."""
        self.pending = True
        """The store does not know the budget, or has not been asked yet."""
        self.answer = asyncio.Event()
        self.era = ""
        self.revise(budget)
        self.room = self.limit
        """What nobody had leased, as of the last answer."""

    @property
    def name(self) -> str:
        """How stores call it."""
        return f"{self.tenant}/{self.period.name}"

    @property
    def demand(self) -> int:
        """What waits for a larger slice, all of it."""
        return sum(self.waiting)

    @property
    def least(self) -> int:
        """The running total below which nothing that waits is helped; 0 where nothing waits."""
        return self.spent + self.reserved + min(self.waiting) if self.waiting else 0

    @property
    def cushion(self) -> int:
        """How much is leased ahead where there is plenty."""
        return self.limit // _CUSHION

    @property
    def free(self) -> int:
        """What may still be reserved, if it has not lapsed."""
        return self.granted - self.spent - self.reserved

    def revise(self, budget: Budget) -> None:
        """Take the budget as the config has it now."""
        self.budget, self.limit = budget, budget.nano_usd
        self.granted = min(self.granted, max(self.limit, self.spent + self.reserved))

    def has(self, amount: int, now: float) -> bool:
        """Whether `amount` can be reserved."""
        return self.granted - self.spent - self.reserved >= amount and now < self.lapses

    def over(self, amount: int) -> bool:
        """Whether the budget is known to have no room for `amount`, whatever is given back."""
        return max(self.settled, self.spent) + amount > self.limit

    def wanted(self, now: float) -> int:
        """The running total that this replica should have now."""
        used = self.spent + self.reserved + self.demand
        if self.away:
            return max(used, self.granted)
        if now - self.used_at > IDLE_S or self.room < 2 * self.cushion:
            return used
        return max(used + self.cushion, self.granted)

    def let_go(self, wanted: int) -> None:
        """Give up what is not wanted, and parts that are no use: replicas that keep one each would wait for ever."""
        used = self.spent + self.reserved
        self.granted = min(self.granted, used if self.room < self.demand else max(wanted, used))

    def due(self, now: float, every_s: float) -> bool:
        """Whether the store should be asked: every so often while it is in use."""
        if now - self.asked < every_s:
            return False
        return (
            bool(self.waiting)
            or self.short
            or self.spent != self.reported
            or self.granted > self.spent
            or self.reserved > 0
        )

    def answered(self) -> None:
        """Wake those that wait for the answer."""
        self.answer.set()
        self.answer = asyncio.Event()
