"""What rollout needs from outside."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from headrace_rollout.domain.records import Record, Transition, Truth
from headrace_rollout.domain.verdicts import Decision

if TYPE_CHECKING:
    from headrace_rollout.domain.hearing import Heard


class Events(Protocol):
    """The event log as the gateways ship it."""

    async def after(self, cursor: str, limit: int) -> list[tuple[str, bytes]]:
        """Up to `limit` shipments (`RequestEvents`) behind a place, in order, each with its own place.

        Raises NotReady while it is away.
        """


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
        """Store how long a step has been served, and what it waits for; no transition."""

    async def decide(self, decision: Decision) -> None:
        """Store what was decided, and by which numbers."""

    async def publish(self, news: Mapping[str, Any]) -> None:
        """Store something that people are to be told."""

    async def heard_revision(self) -> int:
        """How often what was heard was stored; 0: never."""

    async def heard(self, ids: Collection[str]) -> Heard | None:
        """What was heard, with the analyses of these rollouts; None where nothing was."""

    async def keep_heard(self, heard: Heard, verdicts: Mapping[str, list[dict[str, Any]]]) -> int:
        """Store what was heard, and the newest verdicts by rollout; returns the new revision."""


@dataclass(frozen=True, slots=True)
class Story:
    """The transitions and decisions of a rollout, oldest first, and the last analysis, if it was judged."""

    transitions: list[Transition]
    decisions: list[Decision]
    analysis: Mapping[str, Any] | None


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

    def news(self) -> AbstractAsyncContextManager[Mapping[str, Any] | None]:
        """The oldest news that nobody else is telling, or None; gone at the end, unless the block raises."""

    async def verdicts(self, ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
        """The newest verdicts of rollouts that are or were judged."""

    async def story(self, id_: str) -> Story:
        """How a rollout came where it is."""

    async def all(self, limit: int) -> list[Record]:
        """The newest rollouts, newest first."""
