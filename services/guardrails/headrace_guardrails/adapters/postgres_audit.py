"""The audit's chain in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import psycopg

from headrace_guardrails.domain.audit import FIRST, Entry, ReportRow, Written, chained
from headrace_kit.errors import NotReady
from headrace_kit.stores.postgres import Postgres

_PAGE = 1000


class PostgresAudit:
    """Fulfils `AuditStore`."""

    def __init__(self, store: Postgres) -> None:
        self._store = store

    async def append(self, entries: Sequence[Entry]) -> None:
        """See `AuditStore`. One writer at a time, over all replicas."""
        try:
            async with self._store.transaction() as connection:
                await connection.execute("SELECT pg_advisory_xact_lock(hashtext('guardrails.audit'))")
                cursor = await connection.execute(
                    "SELECT id FROM guardrails.audit WHERE id = ANY(%s)", ([entry.id for entry in entries],)
                )
                known = {row[0] for row in await cursor.fetchall()}
                cursor = await connection.execute(
                    "SELECT number, hash FROM guardrails.audit ORDER BY number DESC LIMIT 1"
                )
                last = await cursor.fetchone()
                number, head = (last[0], bytes(last[1])) if last else (0, FIRST)
                rows = []
                for entry in entries:
                    if entry.id in known:
                        continue
                    known.add(entry.id)
                    number, previous, head = number + 1, head, chained(head, entry.body)
                    rows.append((number, entry.id, entry.body, previous, head))
                if rows:
                    async with connection.cursor() as writer:
                        await writer.executemany(
                            "INSERT INTO guardrails.audit (number, id, body, previous, hash) "
                            "VALUES (%s, %s, %s, %s, %s)",
                            rows,
                        )
        except psycopg.errors.UndefinedTable as error:
            raise NotReady("the audit table is not there yet") from error

    async def walk(self) -> AsyncIterator[Written]:
        """See `AuditStore`."""
        number = 0
        while True:
            rows = await self._store.fetch(
                "SELECT number, body, previous, hash FROM guardrails.audit WHERE number > %s ORDER BY number LIMIT %s",
                number,
                _PAGE,
            )
            for row in rows:
                yield Written(row[0], row[1], bytes(row[2]), bytes(row[3]))
            if len(rows) < _PAGE:
                return
            number = rows[-1][0]

    async def report(
        self, policy: str, since: datetime | None, until: datetime | None, shadow: bool | None
    ) -> Sequence[ReportRow]:
        """See `AuditStore`. Counts each decision once for each sort of finding."""
        rows = await self._store.fetch(
            """
            SELECT body->>'policy', body->>'version', body->>'direction', found->>'check', found->>'kind',
                   found->>'action', (body->>'shadow')::boolean, count(DISTINCT number)
            FROM (SELECT number, body::jsonb AS body FROM guardrails.audit) AS decisions,
                 jsonb_array_elements(body->'findings') AS found
            WHERE (%s = '' OR body->>'policy' = %s)
              AND (%s::timestamptz IS NULL OR (body->>'at')::timestamptz >= %s)
              AND (%s::timestamptz IS NULL OR (body->>'at')::timestamptz < %s)
              AND (%s::boolean IS NULL OR (body->>'shadow')::boolean = %s)
            GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 8 DESC, 4, 5
            """,
            policy,
            policy,
            since,
            since,
            until,
            until,
            shadow,
            shadow,
        )
        return [ReportRow(*row) for row in rows]
