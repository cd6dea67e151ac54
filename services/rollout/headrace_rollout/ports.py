"""What rollout needs from outside."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from headrace_rollout.domain.records import Record, Transition, Truth


class Work(Protocol):
    """One transaction of the only writer: nobody else changes a rollout until it ends."""

    @property
    def now(self) -> datetime:
        """The store's own time, one clock for all replicas."""

    async def standing(self) -> list[Record]:
        """All rollouts that are live or overlays."""

    async def find(self, id_: str) -> Record | None:
        """A rollout, also one that has ended."""

    async def ended(self, ids: Collection[str]) -> set[str]:
        """Those of `ids` that exist and no longer stand."""

    async def apply(self, transition: Transition) -> None:
        """Store the record as it became, and a line in the audit trail."""

    async def count(self, record: Record) -> None:
        """Store how long a step has been served; no transition."""


class RolloutStore(Protocol):
    """The record of rollouts. Every method raises `headrace_kit.errors.NotReady` while the store is away."""

    def changing(self) -> AbstractAsyncContextManager[Work]:
        """Become the only writer, after whoever is; everything is committed at the end, or nothing."""

    def leading(self) -> AbstractAsyncContextManager[Work | None]:
        """The same without waiting: None when another writer is at it."""

    async def truth(self) -> Truth:
        """What stands now."""

    async def find(self, id_: str) -> Record | None:
        """A rollout, also one that has ended."""

    async def all(self, limit: int) -> list[Record]:
        """The newest rollouts, newest first."""
