"""The audit: each decision, once, chained to the one before by its hash.

An entry's hash is SHA-256 over the hash before it and the entry's own bytes; the first stands on 32 zero bytes. So
whoever knows the newest hash can prove that nothing before it was changed, left out or put in.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Protocol

from headrace_detectors import Action
from headrace_guardrails.domain.guard import Judged
from headrace_guardrails.domain.reviews import Review
from headrace_guardrails.ports import Failure, Found, Subject
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError, NotReady

FIRST = bytes(32)
_MOST_WAITING = 20_000
_BATCH = 500
_PAUSE_S = 0.2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A decision as it is written: `body` is JSON, and exactly what is hashed."""

    id: str
    body: str


@dataclass(frozen=True, slots=True)
class Written:
    """An entry in its place."""

    number: int
    body: str
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Verification:
    """What walking the chain showed. `broken_at` is the number of the first entry that does not fit, or 0."""

    entries: int
    head: bytes
    broken_at: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """How many decisions had a finding of one sort."""

    policy: str
    version: str
    direction: str
    check: str
    kind: str
    action: str
    shadow: bool
    decisions: int


class AuditStore(Protocol):
    """Where the chain is kept. Every method raises NotReady while it cannot be reached."""

    async def append(self, entries: Sequence[Entry]) -> None:
        """Add entries at the end, in their order; one whose id is there already is left out."""

    def walk(self) -> AsyncIterator[Written]:
        """All entries by number."""

    async def report(
        self, policy: str, since: datetime | None, until: datetime | None, shadow: bool | None
    ) -> Sequence[ReportRow]:
        """Decisions by what they found."""


def chained(previous: bytes, body: str) -> bytes:
    """The hash of an entry that follows `previous`."""
    return sha256(previous + body.encode()).digest()


async def verify(entries: AsyncIterator[Written]) -> Verification:
    """Walk a chain from its beginning."""
    number, head = 0, FIRST
    async for one in entries:
        if one.number != number + 1:
            return Verification(number, head, one.number, f"after entry {number} comes entry {one.number}")
        if one.previous != head:
            return Verification(number, head, one.number, "it does not follow from the entry before")
        if one.hash != chained(head, one.body):
            return Verification(number, head, one.number, "its content is not what was hashed")
        number, head = one.number, one.hash
    return Verification(number, head)


def entry_of(
    entry_id: str,
    at: datetime,
    subject: Subject,
    version: str,
    action: Action,
    findings: Sequence[Found],
    failures: Sequence[Failure] = (),
    shadow: bool = False,
    review_id: str = "",
) -> Entry:
    """A decision as JSON with sorted keys; nothing of the text is in it."""
    body: dict[str, Any] = {
        "at": at.isoformat(),
        "policy": subject.policy,
        "version": version,
        "direction": subject.direction,
        "action": action.value,
        "shadow": shadow,
        "tenant": subject.tenant,
        "user": subject.user,
        "request_id": subject.request_id,
        "trace_id": subject.trace_id,
        "findings": [found.plain() for found in findings],
        "failures": [{"check": one.check, "reason": one.reason, "closed": one.closed} for one in failures],
    }
    if review_id:
        body["review_id"] = review_id
    return Entry(entry_id, _json(body))


class AuditWriter:
    """Writes decisions soon after they were made, off the path of the request.

    While the store cannot be reached up to 20,000 decisions wait; `lost` is told how many more there were.

    Args:
        store: the chain.
        lost: counts decisions that could not be kept.
    """

    def __init__(self, store: AuditStore, lost: Callable[[int], None]) -> None:
        self._store, self._lost = store, lost
        self._waiting: deque[Entry] = deque()
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def note(self, entry: Entry) -> None:
        """Write this soon. Never waits."""
        if len(self._waiting) >= _MOST_WAITING:
            self._lost(1)
            return
        self._waiting.append(entry)
        self._some.set()

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what waits, once, and end."""
        await end(self._task)
        with suppress(HeadraceError):
            while self._waiting:
                await self._write()
        if self._waiting:
            self._lost(len(self._waiting))

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            try:
                await self._write()
            except HeadraceError as error:
                _log.warning("%d decisions wait for the audit: %s", len(self._waiting), error.message)
                await asyncio.sleep(_PAUSE_S)
            if not self._waiting:
                self._some.clear()

    async def _write(self) -> None:
        batch = [self._waiting[index] for index in range(min(_BATCH, len(self._waiting)))]
        # An append is done whole or not at all, and entries are unique by id: what is taken off only now cannot be
        # lost by a cancel, nor written twice.
        await self._store.append(batch)
        for _ in batch:
            self._waiting.popleft()


class Auditor:
    """The audit as the service uses it; without a store nothing is kept, and reading is refused."""

    def __init__(self, store: AuditStore | None, lost: Callable[[int], None], new_id: Callable[[], str]) -> None:
        self._store, self._new_id = store, new_id
        self._writer = AuditWriter(store, lost) if store is not None else None

    def start(self) -> None:
        """Begin to write."""
        if self._writer is not None:
            self._writer.start()

    async def stop(self) -> None:
        """Write what waits, and end."""
        if self._writer is not None:
            await self._writer.stop()

    def judged(self, subject: Subject, judged: Judged) -> None:
        """Note a decision about a text."""
        if self._writer is not None:
            self._writer.note(
                entry_of(
                    self._new_id(),
                    datetime.now(UTC),
                    subject,
                    judged.version,
                    judged.would,
                    judged.findings,
                    judged.failures,
                    judged.shadow,
                    judged.review_id,
                )
            )

    def decided(self, review: Review) -> None:
        """Note what a person decided."""
        if self._writer is not None:
            body = {
                "at": datetime.now(UTC).isoformat(),
                "policy": review.policy,
                "version": review.version,
                "direction": review.direction,
                "action": review.state,
                "shadow": False,
                "tenant": review.tenant,
                "user": review.user,
                "review_id": review.id,
                "decided_by": review.decided_by,
                "reason": review.reason,
                "findings": [],
                "failures": [],
            }
            self._writer.note(Entry(self._new_id(), _json(body)))

    async def append(self, entries: Sequence[Entry]) -> None:
        """Write decisions of another process; returns when they are kept. Raises NotReady."""
        await self._open().append(entries)

    async def verify(self) -> Verification:
        """Walk the chain. Raises NotReady."""
        return await verify(self._open().walk())

    async def report(
        self, policy: str, since: datetime | None, until: datetime | None, shadow: bool | None
    ) -> Sequence[ReportRow]:
        """Decisions by what they found. Raises NotReady."""
        return await self._open().report(policy, since, until, shadow)

    def _open(self) -> AuditStore:
        if self._store is None:
            raise NotReady("there is no database for the audit: set the secret of stores.postgres")
        return self._store


def _json(body: dict[str, Any]) -> str:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
