"""Who changed what: keys, budgets, the config; and budgets that ran low."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from headrace_gateway.context import RequestContext
from headrace_kit.ending import end
from headrace_kit.errors import BadInput, NotReady

_log = logging.getLogger(__name__)
_MOST_WAITING = 1000
_MOST_CHANGES = 500
_RETRY_S = 1.0
_PAGE, _MOST = 100, 1000
PLATFORM = "gateway"
"""Actor of what no key did."""

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Entry:
    """One change, before and after; None: there was, or is, nothing. Never a secret.

    `once` names what is noted a single time, whichever replica comes first.
    """

    actor: str
    action: str
    tenant: str
    subject: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    once: str | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """An entry as it was written; ids grow with time."""

    id: str
    at: datetime
    entry: Entry


class AuditStore(Protocol):
    """The audit table. Raises NotReady while it is away."""

    async def note(self, entry: Entry) -> bool:
        """Write an entry; False where its `once` was noted before."""
        ...

    async def note_config(self, entry: Entry) -> bool:
        """Write that a config is served, unless it is the one that was noted last."""
        ...

    async def list(self, tenant: str | None, action: str | None, before: str | None, limit: int) -> list[Noted]:
        """Entries, newest first, older than the one with the id `before`. `action` may end with a dot: all such."""
        ...


class Auditor:
    """Writes entries in the background; those of changes that admins make are written with the change itself.

    While the table is away the newest thousand wait.
    """

    def __init__(self, store: AuditStore) -> None:
        self._store = store
        self._waiting: asyncio.Queue[Entry] = asyncio.Queue(_MOST_WAITING)
        self._task: asyncio.Task[None] | None = None

    def note(self, entry: Entry) -> None:
        """Write an entry soon."""
        if self._waiting.full():
            self._waiting.get_nowait()
            self._waiting.task_done()
            _log.error("an audit entry was given up: the table was away for too long")
        self._waiting.put_nowait(entry)

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what is left if that is quick, and end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._waiting.join()
        await end(self._task)

    async def _run(self) -> None:
        while True:
            entry = await self._waiting.get()
            while True:
                try:
                    await (self._store.note_config if entry.action == "config.activated" else self._store.note)(entry)
                    break
                except NotReady:
                    await asyncio.sleep(_RETRY_S)
                except Exception:
                    _log.exception("an audit entry cannot be written")
                    break
            self._waiting.task_done()


def config_entry(old: Any, new: Any) -> Entry:
    """The entry of a change from one compiled table to another; `old` is None at the start."""
    changed: dict[str, Any] = {}
    if old is not None:
        changes(_plain(old), _plain(new), "", changed)
    shown = dict(list(changed.items())[:_MOST_CHANGES])
    after = {"hash": new.hash, "changes": shown, "more": len(changed) - len(shown)}
    return Entry(PLATFORM, "config.activated", "", new.hash, {"hash": old.hash} if old else None, after)


def changes(before: Any, after: Any, path: str, found: dict[str, Any]) -> None:
    """Every place where two JSON values differ, by its dotted path, as `{before, after}`."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            where = f"{path}.{key}" if path else key
            changes(before.get(key, _ABSENT), after.get(key, _ABSENT), where, found)
    elif before != after:
        found[path] = {name: value for name, value in (("before", before), ("after", after)) if value is not _ABSENT}


def _plain(table: Any) -> Any:
    return table.config.model_dump(mode="json", exclude_defaults=True)


class AuditReader:
    """Shows the audit table to admins."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store

    async def list(
        self, ctx: RequestContext, tenant: str, action: str, before: str, limit: int | None
    ) -> Sequence[Noted]:
        """Entries, newest first. Raises BadInput, NotReady."""
        if limit is not None and not 1 <= limit <= _MOST:
            raise BadInput(f"limit is from 1 to {_MOST}", param="limit")
        return await self._store.list(tenant or None, action or None, before or None, limit or _PAGE)
