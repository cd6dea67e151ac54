"""How far the synchronisation of each source came, and what it has seen there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

from uuid_utils.compat import uuid7

from headrace_kit.errors import NotReady
from headrace_retrieval.adapters.postgres.collections import SELECT, collection_of
from headrace_retrieval.adapters.postgres.session import Database, columns
from headrace_retrieval.domain.model import Collection
from headrace_retrieval.domain.rights import Caller
from headrace_retrieval.domain.sources import Counts, Known, SourceState, SyncTask

LEASE_S = 20
_COUNTS = "seen, added, changed, unchanged, removed, refused"
_NO_COUNTS = "seen = 0, added = 0, changed = 0, unchanged = 0, removed = 0, refused = 0"
_QUEUE = f"""
INSERT INTO sources AS s (collection_id, name, state) VALUES (%s, %s, 'queued')
ON CONFLICT (collection_id, name) DO UPDATE SET state = 'queued', queued_at = now(), error = '', {_NO_COUNTS}
WHERE s.state NOT IN ('queued', 'running')
"""  # noqa: S608  (constants)


class PostgresSources:
    """`SourceStore` on PostgreSQL. Leases work as those of the queue."""

    def __init__(self, database: Database, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._owner = uuid7()
        self._lease_s = lease_s

    @property
    def lease_s(self) -> float:
        """See the port."""
        return self._lease_s

    async def states(self, tenant: str, collection: Collection) -> dict[str, SourceState]:
        """See the port."""
        async with self._database.reading(Caller(tenant)) as connection:
            cursor = await connection.execute(
                f"SELECT name, state, run, started_at, finished_at, error, {_COUNTS} FROM sources "  # noqa: S608
                "WHERE collection_id = %s",
                [collection.id],
            )
            rows = await cursor.fetchall()
        return {
            name: SourceState(name, "", None, state, run, started, finished, Counts(*counts), error)
            for name, state, run, started, finished, error, *counts in rows
        }

    async def refusals(
        self, tenant: str, collection: Collection, source: str, after: str, limit: int
    ) -> list[tuple[str, str]]:
        """See the port."""
        async with self._database.reading(Caller(tenant)) as connection:
            cursor = await connection.execute(
                """
                SELECT key, refused FROM source_entries
                WHERE collection_id = %s AND source = %s AND refused <> '' AND key > %s ORDER BY key LIMIT %s
                """,
                [collection.id, source, after, limit],
            )
            return [(key, refused) for key, refused in await cursor.fetchall()]

    async def ask(self, tenant: str, collection: Collection, source: str) -> None:
        """See the port."""
        async with self._database.writing(tenant) as connection:
            await connection.execute(_QUEUE, [collection.id, source])

    async def plan(self, tenant: str, collection: str, source: str, every_s: float) -> None:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                """
                SELECT c.id FROM collections c LEFT JOIN sources s ON s.collection_id = c.id AND s.name = %s
                WHERE c.tenant = %s AND c.name = %s AND c.deleted_at IS NULL
                  AND (s.name IS NULL OR s.state IN ('done', 'failed')
                                         AND s.queued_at < now() - make_interval(secs => %s))
                """,
                [source, tenant, collection, every_s],
            )
            row = await cursor.fetchone()
            if row is not None:
                await connection.execute(_QUEUE, [row[0], source])

    async def claim(self) -> SyncTask | None:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                """
                UPDATE sources SET state = 'running', lease_owner = %s,
                                   lease_until = now() + make_interval(secs => %s),
                                   run = run + CASE WHEN state = 'queued' THEN 1 ELSE 0 END,
                                   started_at = CASE WHEN state = 'queued' THEN now() ELSE started_at END,
                                   finished_at = NULL
                WHERE (collection_id, name) = (
                    SELECT s.collection_id, s.name FROM sources s
                    JOIN collections c ON c.id = s.collection_id AND c.deleted_at IS NULL
                    WHERE s.state = 'queued' OR s.state = 'running' AND s.lease_until < now()
                    ORDER BY s.queued_at LIMIT 1 FOR UPDATE OF s SKIP LOCKED)
                RETURNING collection_id, name, run
                """,
                [self._owner, self._lease_s],
            )
            row = await cursor.fetchone()
            if row is None:
                return None
            id, name, run = row
            cursor = await connection.execute(SELECT + " AND c.id = %s", [id])
            found = await cursor.fetchone()
        return SyncTask(collection_of(found), name, run) if found else None

    async def renew(self, task: SyncTask) -> bool:
        """See the port."""
        return await self._update(task, "lease_until = now() + make_interval(secs => %s)", [self._lease_s])

    async def progress(self, task: SyncTask, counts: Counts) -> None:
        """See the port."""
        if not await self._update(task, f"({_COUNTS}) = (%s, %s, %s, %s, %s, %s)", list(astuple(counts))):
            raise NotReady("another replica has taken this synchronisation over")

    async def finish(self, task: SyncTask, error: str = "") -> None:
        """See the port."""
        state = "failed" if error else "done"
        await self._update(
            task,
            "state = %s, error = %s, finished_at = now(), lease_owner = NULL, lease_until = NULL",
            [state, error],
        )

    async def put_back(self, task: SyncTask) -> None:
        """See the port."""
        await self._update(task, "lease_until = now()", [])

    async def _update(self, task: SyncTask, what: str, values: list[Any]) -> bool:
        """Change a run that is this process's; whether it is."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                f"UPDATE sources SET {what} WHERE collection_id = %s AND name = %s AND run = %s "  # noqa: S608
                "AND lease_owner = %s AND state = 'running'",
                [*values, task.collection.id, task.source, task.run, self._owner],
            )
            return bool(cursor.rowcount)

    async def known(self, task: SyncTask, keys: Sequence[str]) -> Mapping[str, Known]:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                """
                SELECT key, version, content_hash, refused, run FROM source_entries
                WHERE collection_id = %s AND source = %s AND key = ANY(%s)
                """,
                [task.collection.id, task.source, list(keys)],
            )
            return {row[0]: Known(*row) for row in await cursor.fetchall()}

    async def saw(self, task: SyncTask, entries: Sequence[Known]) -> None:
        """See the port."""
        if not entries:
            return
        rows = [astuple(replace(one, run=task.run)) for one in entries]
        async with self._database.system() as connection:
            await connection.execute(
                """
                INSERT INTO source_entries (collection_id, source, key, version, content_hash, refused, run)
                SELECT %s, %s, u.* FROM unnest(%s::text[], %s::text[], %s::bytea[], %s::text[], %s::bigint[]) AS u
                ON CONFLICT (collection_id, source, key) DO UPDATE
                SET version = excluded.version, content_hash = excluded.content_hash, refused = excluded.refused,
                    run = excluded.run
                """,
                [task.collection.id, task.source, *columns(rows, 5)],
            )

    async def vanished(self, task: SyncTask, limit: int) -> list[str]:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                "SELECT key FROM source_entries WHERE collection_id = %s AND source = %s AND run < %s LIMIT %s",
                [task.collection.id, task.source, task.run, limit],
            )
            return [key for (key,) in await cursor.fetchall()]

    async def forget(self, task: SyncTask, keys: Sequence[str]) -> None:
        """See the port."""
        async with self._database.system() as connection:
            await connection.execute(
                "DELETE FROM source_entries WHERE collection_id = %s AND source = %s AND key = ANY(%s)",
                [task.collection.id, task.source, list(keys)],
            )
