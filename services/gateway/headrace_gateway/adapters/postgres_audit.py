"""The audit table in PostgreSQL."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import uuid_utils
from psycopg.types.json import Jsonb

from headrace_gateway.audit import Entry, Noted
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
    """Fulfils `AuditStore`."""

    def __init__(self, store: Postgres) -> None:
        self._store = store

    async def note(self, entry: Entry) -> bool:
        """See `AuditStore`."""
        try:
            async with self._store.transaction() as connection:
                return await note(connection, entry)
        except _NOT_THERE_YET as error:
            raise NotReady("the audit table is not there yet") from error

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
