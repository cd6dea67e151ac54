"""Jobs as their owners see them, and what was given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from headrace_kit.stores.postgres import Connection
from headrace_retrieval.adapters.postgres.documents import note_documents, share_collections
from headrace_retrieval.adapters.postgres.session import Database, columns
from headrace_retrieval.domain.model import Collection, DeadLetter, Job
from headrace_retrieval.domain.rights import Caller

_STATE = """
CASE WHEN queued > 0 THEN CASE WHEN begun THEN 'running' ELSE 'queued' END
     WHEN failed > 0 THEN 'failed' ELSE 'done' END
"""
_JOBS = f"""
SELECT id, name, {_STATE} AS state, documents, done, kind, failed, created_at FROM (
    SELECT j.id, c.name, j.kind, j.created_at, j.collection_id, i.*
    FROM jobs j JOIN collections c ON c.id = j.collection_id CROSS JOIN LATERAL (
        SELECT count(*) AS documents, count(*) FILTER (WHERE i.state = 'done') AS done,
               count(*) FILTER (WHERE i.state = 'queued') AS queued,
               count(*) FILTER (WHERE i.state = 'failed') AS failed,
               coalesce(bool_or(i.attempts > 0 OR i.state <> 'queued'), false) AS begun
        FROM job_items i WHERE i.job_id = j.id) AS i) AS jobs
"""  # noqa: S608  (constants)

# A failure whose document was replaced or deleted since is settled: nobody has to do anything about it.
_DEAD = """
FROM job_items i JOIN documents d
     ON d.collection_id = i.collection_id AND d.id = i.document_id AND d.latest = i.revision_id
JOIN indexes v ON v.id = i.index_id
WHERE i.collection_id = %s AND i.state = 'failed'
"""


class PostgresJobs:
    """`JobStore` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def job(self, tenant: str, job: UUID) -> Job | None:
        """See the port."""
        async with self._database.reading(Caller(tenant)) as connection:
            found = await _jobs(connection, "WHERE id = %s", job)
            if not found:
                return None
            cursor = await connection.execute(
                "SELECT document_id, error FROM job_items WHERE job_id = %s AND state = 'failed' ORDER BY id", [job]
            )
            return _job(found[0], tuple((document, error) for document, error in await cursor.fetchall()))

    async def jobs(self, tenant: str, collection: Collection, state: str, before: UUID | None, limit: int) -> list[Job]:
        """See the port."""
        condition = "WHERE collection_id = %s AND (%s::uuid IS NULL OR id < %s)"
        wanted = f" AND {_STATE} = %s" if state else ""
        args = [collection.id, before, before, *([state] if state else []), limit]
        async with self._database.reading(Caller(tenant)) as connection:
            found = await _jobs(connection, f"{condition}{wanted} ORDER BY id DESC LIMIT %s", *args)
        return [_job(row) for row in found]

    async def dead(self, caller: Caller, collection: Collection, after: int, limit: int) -> list[DeadLetter]:
        """See the port."""
        async with self._database.reading(caller) as connection:
            cursor = await connection.execute(
                f"""
                SELECT i.id, i.job_id, i.document_id, i.error, i.attempts, i.finished_at, v.state = 'building'
                {_DEAD} AND i.id > %s ORDER BY i.id LIMIT %s
                """,
                [collection.id, after, limit],
            )
            return [DeadLetter(*row) for row in await cursor.fetchall()]

    async def retry(self, tenant: str, collection: Collection, items: Sequence[int] | None) -> tuple[int, list[int]]:
        """See the port."""
        async with self._database.writing(tenant) as connection:
            found = [row.item for row in await _locked(connection, collection, items)]
            missing = _missing(items, found)
            if not missing:
                await connection.execute(
                    """
                    UPDATE job_items SET state = 'queued', attempts = 0, failures = 0, run_after = now(), error = NULL,
                                         finished_at = NULL, lease_owner = NULL, lease_until = NULL
                    WHERE id = ANY(%s)
                    """,
                    [found],
                )
        return len(found), missing

    async def drop(
        self, tenant: str, collection: Collection, items: Sequence[int] | None
    ) -> tuple[int, list[int], str]:
        """See the port."""
        async with self._database.writing(tenant) as connection:
            rows = await _locked(connection, collection, items)
            missing = _missing(items, [row.item for row in rows])
            dropped = [row for row in rows if not row.building]
            documents = {row.pk for row in dropped}
            building = next((row.document_id for row in rows if row.pk not in documents), "")
            if missing or building:
                return 0, missing, building
            await _take_back(connection, collection, dropped)
            await connection.execute("DELETE FROM job_items WHERE id = ANY(%s)", [[row.item for row in rows]])
        return len(rows), [], ""


@dataclass(frozen=True, slots=True)
class _Dead:
    """A dead letter with its document; `building`: in an index version that is being built."""

    item: int
    job: UUID
    building: bool
    pk: int
    document_id: str
    published: int | None


async def _take_back(connection: Connection, collection: Collection, dropped: Sequence[_Dead]) -> None:
    """Remove the newest text of documents, and the documents that have no other."""
    gone = sorted({row.pk for row in dropped if row.published is None})
    kept = {row.pk: row.job for row in dropped if row.published is not None}
    await connection.execute("DELETE FROM documents WHERE pk = ANY(%s)", [gone])
    await connection.execute(
        "DELETE FROM revisions r USING documents d WHERE d.pk = ANY(%s) AND r.document_pk = d.pk AND r.id = d.latest",
        [sorted(kept)],
    )
    await connection.execute("UPDATE documents SET latest = published WHERE pk = ANY(%s)", [sorted(kept)])
    # An index version that is being built was to get the newer text; it needs the older one now.
    await connection.execute(
        """
        INSERT INTO job_items (job_id, tenant, collection_id, document_id, revision_id, index_id)
        SELECT u.job, %s, d.collection_id, d.id, d.latest, v.id
        FROM unnest(%s::bigint[], %s::uuid[]) AS u (pk, job) JOIN documents d ON d.pk = u.pk
        JOIN indexes v ON v.collection_id = d.collection_id AND v.state = 'building'
        """,
        [collection.spec.tenant, *columns(kept.items(), 2)],
    )
    await note_documents(connection, [(collection.id, pk) for pk in gone])


async def _locked(connection: Connection, collection: Collection, items: Sequence[int] | None) -> list[_Dead]:
    """Dead letters with their documents, locked in the order that everybody keeps."""
    await share_collections(connection, [collection.id])
    which = "AND i.id = ANY(%s)" if items is not None else ""
    cursor = await connection.execute(
        f"""
        SELECT i.id, i.job_id, v.state = 'building', d.pk, d.id, d.published
        {_DEAD} {which} ORDER BY d.id, i.id FOR UPDATE OF d, i
        """,
        [collection.id, *([list(items)] if items is not None else [])],
    )
    return [_Dead(*row) for row in await cursor.fetchall()]


def _missing(items: Sequence[int] | None, found: Sequence[int]) -> list[int]:
    return [] if items is None else sorted(set(items) - set(found))


async def _jobs(connection: Connection, condition: str, *args: Any) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(_JOBS + condition, args)
    return await cursor.fetchall()


def _job(row: Sequence[Any], errors: tuple[tuple[str, str], ...] = ()) -> Job:
    id, name, state, documents, done, kind, failed, created_at = row
    return Job(id, name, state, documents, done, errors, kind, failed, created_at)
