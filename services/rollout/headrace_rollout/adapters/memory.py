"""The rollout store in memory, for tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.message import DecodeError

from headrace_kit.errors import NotReady
from headrace_protos.common.v1.event_pb2 import RequestEvent, RequestEvents
from headrace_rollout.adapters.memory_evaluations import MemoryEvaluations
from headrace_rollout.domain.evaluation import Evaluation
from headrace_rollout.domain.hearing import Heard
from headrace_rollout.domain.records import Record, Transition, Truth
from headrace_rollout.domain.verdicts import Decision
from headrace_rollout.ports import Story


class MemoryRolloutStore:
    """`RolloutStore` without a database. Its time stands still until `pass_time`.

    `away` makes it unreachable; `another_leads` makes somebody else the only writer.
    """

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.transitions: list[Transition] = []
        self.decisions: list[Decision] = []
        self.told: list[Mapping[str, Any]] = []
        self.suites = MemoryEvaluations()
        self.kept: tuple[Heard | None, dict[str, list[dict[str, Any]]]] = (None, {})
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
            work = MemoryWork(dict(self.records), self.time, self.kept, self.suites)
            yield work
            self._reach()
            self.records = work.records
            self.transitions += work.transitions
            self.decisions += work.decisions
            self.told += work.told
            self.kept = work.kept

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

    @asynccontextmanager
    async def news(self) -> AsyncIterator[Mapping[str, Any] | None]:
        """See `RolloutStore`."""
        self._reach()
        yield self.told[0] if self.told else None
        del self.told[:1]

    async def verdicts(self, ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
        """See `RolloutStore`."""
        self._reach()
        return {id_: verdicts for id_, verdicts in self.kept[1].items() if id_ in ids}

    async def evaluations(self, ids: Collection[str]) -> dict[str, Evaluation]:
        """See `RolloutStore`."""
        self._reach()
        return self.suites.last(ids)

    async def story(self, id_: str) -> Story:
        """See `RolloutStore`."""
        self._reach()
        heard = self.kept[0]
        return Story(
            [entry for entry in self.transitions if entry.record.id == id_],
            [entry for entry in self.decisions if entry.rollout_id == id_],
            heard.analyses.get(id_) if heard else None,
        )

    async def all(self, limit: int) -> list[Record]:
        """See `RolloutStore`."""
        self._reach()
        return sorted(self.records.values(), key=lambda record: record.created_at, reverse=True)[:limit]

    def _reach(self) -> None:
        if self.away:
            raise NotReady("the store is away")


class MemoryEvents:
    """`Events` without Valkey. `away` makes it unreachable."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, bytes]] = []
        self.away = False

    def add(self, payload: bytes, at: float) -> None:
        """Append an event, or what is none, as a shipment of its own; at a time in seconds since 1970.

        Where the clock was set back, ids go on from the last one, as those of Valkey do.
        """
        with suppress(DecodeError):
            payload = RequestEvents(events=[RequestEvent.FromString(payload)]).SerializeToString()
        last_ms = _place(self.entries[-1][0])[0] if self.entries else 0
        self.entries.append((f"{max(int(at * 1000), last_ms)}-{len(self.entries)}", payload))

    async def after(self, cursor: str, limit: int) -> list[tuple[str, bytes]]:
        """See `Events`."""
        if self.away:
            raise NotReady("the event stream is away")
        found = [entry for entry in self.entries if _place(entry[0]) > _place(cursor)]
        return found[:limit]


def _place(cursor: str) -> tuple[int, int]:
    at, _, number = cursor.partition("-")
    return int(at), int(number or 0)


class MemoryWork:
    """`Work` on a copy, which becomes the store's at the end."""

    def __init__(
        self,
        records: dict[str, Record],
        now: datetime,
        kept: tuple[Heard | None, dict[str, list[dict[str, Any]]]],
        suites: MemoryEvaluations,
    ) -> None:
        self.suites = suites
        self.records = records
        self.decisions: list[Decision] = []
        self.told: list[Mapping[str, Any]] = []
        self.kept = kept
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

    async def warm(self) -> list[Record]:
        """See `Work`."""
        return [record for record in self.records.values() if record.warm and not record.standing]

    async def cooled(self, id_: str) -> None:
        """See `Work`."""
        self.records[id_] = replace(self.records[id_], warm=False)

    async def apply(self, transition: Transition) -> None:
        """See `Work`."""
        self.records[transition.record.id] = transition.record
        self.transitions.append(transition)

    async def count(self, record: Record) -> None:
        """See `Work`."""
        self.records[record.id] = record

    async def forget(self, id_: str) -> None:
        """See `Work`."""
        heard, verdicts = self.kept
        if heard is not None:
            left = {other: state for other, state in heard.analyses.items() if other != id_}
            self.kept = (replace(heard, analyses=left), {of: told for of, told in verdicts.items() if of != id_})
        self.suites.forget(id_)

    async def decide(self, decision: Decision) -> None:
        """See `Work`."""
        self.decisions.append(decision)

    async def publish(self, news: Mapping[str, Any]) -> None:
        """See `Work`."""
        self.told.append(news)

    async def evaluations(self, ids: Collection[str]) -> dict[str, Evaluation]:
        """See `Work`."""
        return self.suites.last(ids)

    async def calibrations(self, ids: Collection[str]) -> dict[str, Evaluation]:
        """See `Work`."""
        return self.suites.calibrations(ids)

    async def heard_revision(self) -> int:
        """See `Work`."""
        return self.kept[0].revision if self.kept[0] else 0

    async def heard(self, ids: Collection[str]) -> Heard | None:
        """See `Work`."""
        heard = self.kept[0]
        if heard is None:
            return None
        # As a database gives it back: nothing of what was stored is shared.
        return replace(
            heard,
            logs=_copy(heard.logs),
            analyses=_copy({id_: state for id_, state in heard.analyses.items() if id_ in ids}),
        )

    async def keep_heard(self, heard: Heard, verdicts: Mapping[str, list[dict[str, Any]]]) -> int:
        """See `Work`."""
        before, known = self.kept
        analyses = {**(before.analyses if before else {}), **_copy(heard.analyses)}
        revision = (before.revision if before else 0) + 1
        self.kept = (
            replace(heard, revision=revision, logs=_copy(heard.logs), analyses=analyses),
            {**known, **_copy(verdicts)},
        )
        return revision


def _copy(tree: Any) -> Any:
    return json.loads(json.dumps(tree))


def _standing(records: dict[str, Record]) -> list[Record]:
    return sorted((record for record in records.values() if record.standing), key=lambda record: record.created_at)
