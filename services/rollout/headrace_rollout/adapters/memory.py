"""The rollout store in memory, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from headrace_kit.errors import NotReady
from headrace_rollout.domain.records import Record, Transition, Truth


class MemoryRolloutStore:
    """`RolloutStore` without a database. Its time stands still until `pass_time`.

    `away` makes it unreachable; `another_leads` makes somebody else the only writer.
    """

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.transitions: list[Transition] = []
        self.time = datetime(2030, 1, 1, tzinfo=UTC)
        self.away = False
        self.another_leads = False
        self._lock = asyncio.Lock()

    def pass_time(self, seconds: float) -> None:
        """Let time pass; a negative number sets the clock back."""
        self.time += timedelta(seconds=seconds)

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[MemoryWork]:
        """See `RolloutStore`."""
        self._reach()
        async with self._lock:
            work = MemoryWork(dict(self.records), self.time)
            yield work
            self._reach()
            self.records = work.records
            self.transitions += work.transitions

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[MemoryWork | None]:
        """See `RolloutStore`."""
        self._reach()
        if self.another_leads:
            yield None
            return
        async with self.changing() as work:
            yield work

    async def truth(self) -> Truth:
        """See `RolloutStore`."""
        self._reach()
        return Truth(len(self.transitions), tuple(_standing(self.records)))

    async def find(self, id_: str) -> Record | None:
        """See `RolloutStore`."""
        self._reach()
        return self.records.get(id_)

    async def all(self, limit: int) -> list[Record]:
        """See `RolloutStore`."""
        self._reach()
        return sorted(self.records.values(), key=lambda record: record.created_at, reverse=True)[:limit]

    def _reach(self) -> None:
        if self.away:
            raise NotReady("the store is away")


class MemoryWork:
    """`Work` on a copy, which becomes the store's at the end."""

    def __init__(self, records: dict[str, Record], now: datetime) -> None:
        self.records = records
        self.transitions: list[Transition] = []
        self._now = now

    @property
    def now(self) -> datetime:
        """See `Work`."""
        return self._now

    async def standing(self) -> list[Record]:
        """See `Work`."""
        return _standing(self.records)

    async def find(self, id_: str) -> Record | None:
        """See `Work`."""
        return self.records.get(id_)

    async def ended(self, ids: Collection[str]) -> set[str]:
        """See `Work`."""
        return {id_ for id_ in ids if id_ in self.records and not self.records[id_].standing}

    async def apply(self, transition: Transition) -> None:
        """See `Work`."""
        self.records[transition.record.id] = transition.record
        self.transitions.append(transition)

    async def count(self, record: Record) -> None:
        """See `Work`."""
        self.records[record.id] = record


def _standing(records: dict[str, Record]) -> list[Record]:
    return sorted((record for record in records.values() if record.standing), key=lambda record: record.created_at)
