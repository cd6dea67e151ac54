"""What the ledger says of budgets, and which gateways there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from headrace_gateway.budgets.period import Period
from headrace_gateway.budgets.ports import Spent
from headrace_kit.errors import NotReady
from headrace_kit.stores.postgres import Postgres

_NOT_THERE_YET = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName)
_LOST = "interval '1 hour'"
"""A gateway that was not heard of for so long, and whose log nobody has taken over, has lost it."""

_SPENT = f"""
SELECT coalesce(spent.holder, replicas.id), coalesce(spent.cost, 0),
       replicas.id IS NULL OR replicas.finished_at IS NOT NULL, coalesce(replicas.alive_at < now() - {_LOST}, false)
FROM (
    SELECT budget_holder AS holder, sum(cost_nano_usd) AS cost FROM gateway.ledger
    WHERE tenant = %s AND budget_day >= %s AND budget_day < %s AND NOT shadow GROUP BY budget_holder
) AS spent
FULL JOIN gateway.replicas ON replicas.id = spent.holder
WHERE spent.holder IS NOT NULL OR replicas.finished_at IS NULL
"""  # noqa: S608


class PostgresSpending:
    """Fulfils `SpendRecord`."""

    def __init__(self, store: Postgres) -> None:
        self._store = store

    async def register(self, holder: str) -> None:
        """See `SpendRecord`."""
        await self._run(
            "INSERT INTO gateway.replicas (id) VALUES (%s) ON CONFLICT (id) DO UPDATE SET alive_at = now()", holder
        )

    async def spent(self, tenant: str, period: Period) -> dict[str, Spent]:
        """See `SpendRecord`."""
        rows = await self._run(_SPENT, tenant, period.first, period.end)
        return {holder: Spent(int(cost), finished, lost) for holder, cost, finished, lost in rows}

    async def finish(self, holders: Sequence[str]) -> None:
        """All events of these gateways, which are gone, are in the ledger. Raises NotReady."""
        await self._run(
            "INSERT INTO gateway.replicas (id, finished_at) SELECT unnest(%s::text[]), now() "
            "ON CONFLICT (id) DO UPDATE SET finished_at = now()",
            list(holders),
        )

    async def _run(self, statement: str, *values: object) -> list[Any]:
        try:
            return await self._store.fetch(statement, *values)
        except _NOT_THERE_YET as error:
            raise NotReady("the ledger's tables are not there yet", retry_after_s=1) from error
