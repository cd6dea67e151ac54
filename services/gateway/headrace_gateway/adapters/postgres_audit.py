"""The audit table in PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import uuid_utils
from psycopg.types.json import Jsonb

from headrace_gateway.audit import Entry, Noted
from headrace_gateway.budgets.alerts import ALERT, told
from headrace_kit.errors import BadInput, NotReady
from headrace_kit.stores.postgres import Connection, Postgres

_NOT_THERE_YET = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)
_INSERT = (
    "INSERT INTO gateway.audit (id, actor, action, tenant, subject, before, after, once) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (once) DO NOTHING"
)


async def note(connection: Connection, entry: Entry) -> bool:
    """Write an entry in the transaction of the change itself; False where its `once` was noted before."""
    cursor = await connection.execute(
        _INSERT,
        (
            str(uuid_utils.uuid7()),
            entry.actor,
            entry.action,
            entry.tenant,
            entry.subject,
            _json(entry.before),
            _json(entry.after),
            entry.once,
        ),
    )
    return cursor.rowcount == 1


class PostgresAudit:
    """Fulfils `AuditStore`.

    Args:
        store: the database.
        telling: whether anybody is to be told of alerts: then each is kept beside its entry until it was told.
    """

    def __init__(self, store: Postgres, telling: Callable[[], bool] = lambda: False) -> None:
        self._store, self._telling = store, telling

    async def note(self, entry: Entry) -> bool:
        """See `AuditStore`."""
        try:
            async with self._store.transaction() as connection:
                new = await note(connection, entry)
                if new and entry.action == ALERT and self._telling():
                    await connection.execute("INSERT INTO gateway.news (told) VALUES (%s)", (Jsonb(told(entry)),))
                return new
        except _NOT_THERE_YET as error:
            raise NotReady("the audit table is not there yet") from error

    @asynccontextmanager
    async def news(self) -> AsyncIterator[Mapping[str, Any] | None]:
        """The oldest alert that is told by nobody yet; it is gone once this is left without an error.

        Raises NotReady.
        """
        try:
            async with self._store.transaction() as connection:
                cursor = await connection.execute(
                    "SELECT number, told FROM gateway.news ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED"
                )
                row = await cursor.fetchone()
                yield row[1] if row else None
                if row:
                    await connection.execute("DELETE FROM gateway.news WHERE number = %s", (row[0],))
        except _NOT_THERE_YET as error:
            raise NotReady("the table of news is not there yet") from error

    async def note_config(self, entry: Entry) -> bool:
        """See `AuditStore`."""
        try:
            async with self._store.transaction() as connection:
                await connection.execute("SELECT pg_advisory_xact_lock(hashtext('gateway.audit.config'))")
                cursor = await connection.execute(
                    "SELECT subject FROM gateway.audit WHERE action = %s ORDER BY id DESC LIMIT 1", (entry.action,)
                )
                last = await cursor.fetchone()
                return (last is None or last[0] != entry.subject) and await note(connection, entry)
        except _NOT_THERE_YET as error:
            raise NotReady("the audit table is not there yet") from error

    async def list(self, tenant: str | None, action: str | None, before: str | None, limit: int) -> list[Noted]:
        """See `AuditStore`. Raises BadInput for an id that is none."""
        conditions, values = ["true"], list[Any]()
        if tenant is not None:
            conditions.append("tenant = %s")
            values.append(tenant)
        if action is not None:
            conditions.append("starts_with(action, %s)" if action.endswith(".") else "action = %s")
            values.append(action)
        if before is not None:
            conditions.append("id < %s")
            values.append(_id(before))
        rows = await self._store.fetch(
            "SELECT id, at, actor, action, tenant, subject, before, after FROM gateway.audit "  # noqa: S608
            f"WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT %s",
            *values,
            limit,
        )
        return [Noted(str(row[0]), row[1], Entry(*row[2:])) for row in rows]


def _json(value: Any) -> Jsonb | None:
    return None if value is None else Jsonb(value)


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise BadInput("before is the id of an entry", param="before") from error
