"""Usage reports out of the ledger."""

from __future__ import annotations

from typing import Any

from headrace_gateway.ledger.ports import LedgerStore, UsageQuery
from headrace_gateway.outcome import usd
from headrace_kit.errors import BadInput

GROUPS = ("day", "tenant", "key", "model", "deployment", "arm", "operation")


async def add_up(store: LedgerStore, query: UsageQuery) -> list[dict[str, Any]]:
    """Rows of the report, in the order of their groups.

    Raises:
        BadInput: an unknown group.
    """
    for group in query.group_by:
        if group not in GROUPS:
            raise BadInput(f"{group!r} is not one of {', '.join(GROUPS)}", param="group_by")
    rows = []
    for found in await store.usage(query):
        row = dict(found)
        row["cost_usd"] = usd(int(row.pop("cost_nano_usd")))
        rows.append(row)
    return rows
