"""All of the ledger, started and stopped as one."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from headrace_gateway.ledger.log import EventLog
from headrace_gateway.ledger.ports import EventStream, LedgerStore, UsageQuery
from headrace_gateway.ledger.reader import LogReader
from headrace_gateway.ledger.recover import closing
from headrace_gateway.ledger.ship import Shipper
from headrace_gateway.ledger.usage import add_up
from headrace_gateway.ledger.write import Writer


class LedgerService:
    """The ledger of one gateway replica; `journal` is what the pipeline writes to."""

    def __init__(
        self, folder: Path, stream: EventStream, store: LedgerStore, registry: CollectorRegistry, fsync_ms: int = 5
    ) -> None:
        self.journal = EventLog(folder, fsync_ms)
        self._folder, self._stream, self._store = folder, stream, store
        self._tasks: list[asyncio.Task[None]] = []
        self._backlog = Gauge(
            "headrace_gateway_ledger_backlog_events", "Events that PostgreSQL does not have yet.", registry=registry
        )
        self._crashed = Counter(
            "headrace_gateway_ledger_crashed_attempts", "Attempts closed after a crash.", registry=registry
        )

    async def start(self) -> None:
        """Recover the log, close what an earlier run left open, and begin to ship. Raises NotReady."""
        left = await self.journal.start()
        for event in left:
            self.journal.closed(closing(event))
        self._crashed.inc(len(left))
        shipped = asyncio.Event()
        # What the table already has is not known yet: everything that is still on disk goes out again.
        shipper = Shipper(self.journal, LogReader(self._folder, 0), self._stream, self._store)
        self._backlog.set_function(lambda: shipper.backlog)
        writer = Writer(self._stream, self._store)
        self._tasks = [
            asyncio.create_task(job) for job in (shipper.run(shipped), shipper.confirm_forever(), writer.run(shipped))
        ]

    async def stop(self) -> None:
        """Stop shipping and close the log; what is not shipped yet stays on disk for the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.journal.stop()

    def problems(self) -> list[str]:
        """Why requests cannot be accounted for; empty when they can."""
        return self.journal.problems()

    async def usage(
        self, tenant: str | None, group_by: list[str], start: datetime | None, end: datetime | None
    ) -> list[dict[str, Any]]:
        """Usage by group: the groups' columns, `requests`, `input_tokens`, `output_tokens`, `cost_usd` (decimal).

        Args:
            tenant: only this one's; None for all.
            group_by: any of `usage.GROUPS`, in the order of the columns.
            start, end: only attempts opened in [start, end).

        Raises:
            BadInput: an unknown group.
            NotReady: PostgreSQL is away.
        """
        return await add_up(self._store, UsageQuery(tenant, group_by, start, end))
