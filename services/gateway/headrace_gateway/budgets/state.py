"""What a team has left, for those who ask."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headrace_gateway.budgets.book import Book
from headrace_gateway.budgets.period import DAY_NS
from headrace_gateway.budgets.slices import Slice
from headrace_gateway.context import RequestContext
from headrace_kit.config.tenants import Limits
from headrace_kit.errors import NotReady


@dataclass(frozen=True, slots=True)
class BudgetState:
    """One budget in this period, in nano-dollars.

    `reserved` is held by requests that run, and by gateways for those to come. Without `current` the store that
    replicas share it through is away, and this is what was known last.
    """

    per: str
    limit: int
    spent: int
    reserved: int
    remaining: int
    resets_at: str
    current: bool


@dataclass(frozen=True, slots=True)
class TenantState:
    """A team's budgets and limits."""

    tenant: str
    budgets: tuple[BudgetState, ...]
    limits: Limits


class BudgetReader:
    """Tells teams about their budgets.

    Args:
        book: the slices.
        look: asks the store about one. Raises NotReady.
    """

    def __init__(self, book: Book, look: Callable[[Slice], Awaitable[None]]) -> None:
        self._book, self._look = book, look

    async def read(self, ctx: RequestContext, tenant: str) -> TenantState:
        """The caller's own team; with the scope `admin` any other.

        Raises:
            Forbidden: another team was named without that scope.
        """
        if tenant and tenant != ctx.identity.tenant:
            ctx.identity.require("admin")
        tenant = tenant or ctx.identity.tenant
        slices = self._book.slices(tenant, time.time_ns() // DAY_NS)
        states = tuple([await self._state(slice_) for slice_ in slices])
        return TenantState(tenant, states, ctx.table.tenant(tenant).limits)

    async def _state(self, slice_: Slice) -> BudgetState:
        try:
            await self._look(slice_)
            current = not slice_.pending
        except NotReady:
            current = False
        spent = max(slice_.settled, slice_.spent)
        remaining = max(0, min(slice_.room, slice_.limit - spent)) if not slice_.pending else 0
        return BudgetState(
            per=slice_.budget.per,
            limit=slice_.limit,
            spent=spent,
            reserved=max(0, slice_.limit - spent - remaining),
            remaining=remaining,
            resets_at=slice_.period.resets_at.isoformat().replace("+00:00", "Z"),
            current=current,
        )
