"""The money of one request: reserved before its engines start, spent as they end, and given back when it leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from headrace_gateway.budgets.slices import Slice

Take = Callable[[Sequence[Slice], int], bool]
Wait = Callable[[Sequence[Slice], int], Awaitable[None]]


class Purse:
    """What a request holds of its tenant's slices. Amounts are nano-dollars.

    Args:
        slices: the budgets that it is paid from; none where the tenant has no budget.
        take: reserves an amount from all of them, or from none.
        wait: reserves it when they have grown, or raises.
        spent: told of what was spent.
    """

    __slots__ = ("_promised", "_slices", "_spent", "_take", "_wait", "counted", "held", "inputs", "limited", "tokens")

    def __init__(self, slices: Sequence[Slice], take: Take, wait: Wait, spent: Callable[[int], None]) -> None:
        self._slices, self._take, self._wait, self._spent = slices, take, wait, spent
        self.limited = bool(slices)
        """Whether there is a budget at all."""
        self._promised = 0
        self.held = 0
        """Reserved, and neither spent nor given back yet."""
        self.tokens = 0
        """Input and output tokens of all attempts that have ended."""
        self.counted = 0
        """Tokens that the tenant's limit has counted in advance."""
        self.inputs = 0
        """The most input tokens of an attempt."""

    async def reserve(self, amount: int) -> None:
        """Hold so much more; nothing happens for less than one nano-dollar.

        Raises:
            BudgetSpent: the budget has no room for it.
            Busy: the budget's rest is reserved for requests that still run.
            NotReady: it cannot be told now.
        """
        if self._slices and amount > 0:
            if not self._take(self._slices, amount):
                await self._wait(self._slices, amount)
            self.held += amount

    async def cover(self, bound: int) -> None:
        """An attempt begins that costs at most `bound`: hold more if what is held may not be enough. As `reserve`."""
        if self._slices:
            await self.reserve(self._promised + bound - self.held)
            self._promised += bound

    def paid(self, bound: int, cost: int, tokens: int) -> None:
        """An attempt that was covered has ended: what it has cost, and its tokens."""
        self.tokens += tokens
        if cost:
            self._spent(cost)
        if not self._slices:
            return
        self._promised -= bound
        kept = min(cost, self.held)
        self.held -= kept
        for slice_ in self._slices:
            slice_.spent += cost
            slice_.reserved -= kept

    def close(self) -> None:
        """The request has left: what it did not need is free again. Attempts that end later are still paid."""
        for slice_ in self._slices:
            slice_.reserved -= self.held
        self.held = 0
