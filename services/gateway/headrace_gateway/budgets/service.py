"""Budgets and limits of this replica put together."""

from __future__ import annotations

from collections.abc import Callable

from headrace_gateway.admission.rates import RateBook
from headrace_gateway.admission.shares import RateStore, Sharer
from headrace_gateway.budgets.book import Book
from headrace_gateway.budgets.leaser import Leaser
from headrace_gateway.budgets.ports import LeaseStore, SpendRecord
from headrace_gateway.budgets.slices import Slice
from headrace_gateway.budgets.state import BudgetReader
from headrace_gateway.routing.table import Table


class Budgets:
    """What a tenant may spend, and how fast.

    Args:
        table: the active snapshot.
        holder: name of this replica.
        leases: where replicas meet for money.
        demand: where they meet for rates.
        record: the ledger.
        settled: hears after each answer of a slice what is spent of its budget.
    """

    def __init__(
        self,
        table: Callable[[], Table],
        holder: str,
        leases: LeaseStore,
        demand: RateStore,
        record: SpendRecord,
        settled: Callable[[Slice], None],
    ) -> None:
        self.rates = RateBook()
        self.book = Book(lambda tenant: table().tenant(tenant).budget)

        def expected(day: int) -> None:
            self.book.expect(table().config.tenants, day)

        self._leaser = Leaser(self.book, leases, record, holder, settled, expected)
        self.reader = BudgetReader(self.book, self._leaser.look)
        self._sharer = Sharer(self.rates, demand, holder)

    def start(self) -> None:
        """Begin."""
        self._leaser.start()
        self._sharer.start()

    async def stop(self) -> None:
        """Give back what is not spent, and end."""
        await self._sharer.stop()
        await self._leaser.stop()
