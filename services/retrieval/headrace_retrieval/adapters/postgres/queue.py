"""The durable queue: who works on what, and making a document searchable in one step."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from uuid_utils.compat import uuid7

from headrace_kit.stores.postgres import Connection
from headrace_retrieval.adapters.postgres.collections import note_index
from headrace_retrieval.adapters.postgres.documents import note_documents, raise_epoch, share_collections
from headrace_retrieval.adapters.postgres.session import Database, Floats
from headrace_retrieval.domain.documents import MARKDOWN
from headrace_retrieval.domain.model import IndexSpec
from headrace_retrieval.ports import Cut, Task, Work

LEASE_S = 20
JOBS_KEPT = "7 days"
OUTBOX_KEPT = "1 day"
_DELETE_BATCH = 2000


class PostgresQueue:
    """`WorkQueue` on PostgreSQL.

    A lease is kept by renewing it well within `lease_s`; who dies loses it, and another worker begins again. A worker
    that only was slow finds its lease gone when it publishes, and nothing of it is kept.
    """

    def __init__(self, database: Database, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._owner = uuid7()
        self._lease_s = lease_s

    @property
    def lease_s(self) -> float:
        """See the port."""
        return self._lease_s

    async def claim(self, limit: int) -> list[Task]:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                """
                UPDATE job_items SET lease_owner = %s, lease_until = now() + make_interval(secs => %s),
                                     attempts = attempts + 1
                WHERE id IN (
                    SELECT id FROM job_items
                    WHERE state = 'queued' AND run_after <= now() AND (lease_until IS NULL OR lease_until < now())
                    ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
                RETURNING id, tenant, collection_id, document_id, revision_id, index_id, attempts, failures
                """,
                [self._owner, self._lease_s, limit],
            )
            return [Task(*row) for row in sorted(await cursor.fetchall())]

    async def renew(self, tasks: Sequence[Task]) -> None:
        """See the port."""
        async with self._database.system() as connection:
            await connection.execute(
                """
                UPDATE job_items SET lease_until = now() + make_interval(secs => %s)
                WHERE id = ANY(%s) AND lease_owner = %s AND state = 'queued'
                """,
                [self._lease_s, [task.item for task in tasks], self._owner],
            )

    async def load(self, task: Task) -> Work | None:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                """
                SELECT r.title, r.text, r.content_type, i.embedding, i.max_tokens, i.overlap_tokens
                FROM revisions r JOIN documents d ON d.pk = r.document_pk AND d.latest = r.id
                JOIN collections c ON c.id = d.collection_id AND c.deleted_at IS NULL
                JOIN indexes i ON i.id = %s
                WHERE r.id = %s
                """,
                [task.index_id, task.revision],
            )
            row = await cursor.fetchone()
            if row is None:
                await _finish(connection, [task.item], self._owner)
                return None
        title, text, content_type, *index = row
        return Work(task, title, text, content_type == MARKDOWN, IndexSpec(*index))

    async def publish(self, cuts: Sequence[Cut]) -> int:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                """
                SELECT id FROM job_items WHERE id = ANY(%s) AND lease_owner = %s AND state = 'queued'
                ORDER BY id FOR UPDATE
                """,
                [[cut.task.item for cut in cuts], self._owner],
            )
            mine = {item for (item,) in await cursor.fetchall()}
            await share_collections(connection, [cut.task.collection_id for cut in cuts])
            changed: list[tuple[UUID, int]] = []
            replaced: list[UUID] = []
            for cut in sorted(cuts, key=lambda cut: (cut.task.collection_id, cut.task.document_id)):
                if cut.task.item not in mine:
                    continue
                found = await _lock(connection, cut.task)
                if found is None:
                    continue
                pk, active, published = found
                await _replace(connection, pk, cut)
                changed.append((cut.task.collection_id, pk))
                if active and await _show(connection, pk, cut.task.revision, published):
                    replaced.append(cut.task.collection_id)
            await _finish(connection, sorted(mine), self._owner)
            if replaced:
                await raise_epoch(connection, replaced)
            await note_documents(connection, changed)
        return len(changed)

    async def fail(self, task: Task, message: str) -> None:
        """See the port."""
        async with self._database.system() as connection:
            await connection.execute(
                """
                UPDATE job_items SET state = 'failed', error = %s, finished_at = now(), lease_owner = NULL
                WHERE id = %s AND lease_owner = %s AND state = 'queued'
                """,
                [message, task.item, self._owner],
            )

    async def put_back(self, tasks: Sequence[Task], delay_s: float, *, failed: bool = False) -> None:
        """See the port."""
        async with self._database.system() as connection:
            await connection.execute(
                """
                UPDATE job_items SET lease_owner = NULL, lease_until = NULL,
                                     run_after = now() + make_interval(secs => %s), failures = failures + %s
                WHERE id = ANY(%s) AND lease_owner = %s AND state = 'queued'
                """,
                [delay_s, int(failed), [task.item for task in tasks], self._owner],
            )

    async def promote(self) -> int:
        """See the port. A version with a failed document does not take over: the old one has that document."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                """
                SELECT c.id, i.id FROM collections c JOIN indexes i ON i.collection_id = c.id AND i.state = 'building'
                WHERE c.deleted_at IS NULL
                  AND NOT EXISTS (SELECT FROM job_items t WHERE t.index_id = i.id AND t.state <> 'done')
                FOR UPDATE OF c SKIP LOCKED
                """
            )
            promoted = 0
            for collection, index in await cursor.fetchall():
                # Again under the lock: a document may have been stored since.
                cursor = await connection.execute(
                    "SELECT 1 FROM job_items WHERE index_id = %s AND state <> 'done' LIMIT 1", [index]
                )
                if await cursor.fetchone() is None:
                    await _switch(connection, collection, index)
                    promoted += 1
        return promoted

    async def clean_up(self) -> None:
        """See the port."""
        async with self._database.system() as connection:
            await connection.execute(
                """
                DELETE FROM documents WHERE pk IN (
                    SELECT d.pk FROM documents d JOIN collections c ON c.id = d.collection_id
                    WHERE c.deleted_at IS NOT NULL LIMIT %s)
                """,
                [_DELETE_BATCH],
            )
            await connection.execute(
                """
                DELETE FROM collections c WHERE c.deleted_at IS NOT NULL
                  AND NOT EXISTS (SELECT FROM documents d WHERE d.collection_id = c.id)
                """
            )
        async with self._database.system() as connection:
            await connection.execute(
                f"""
                DELETE FROM jobs j WHERE j.created_at < now() - interval '{JOBS_KEPT}'
                  AND NOT EXISTS (SELECT FROM job_items i WHERE i.job_id = j.id AND i.state = 'queued')
                """  # noqa: S608  (a constant)
            )
        async with self._database.system() as connection:
            await connection.execute(
                f"""
                WITH gone AS (
                    DELETE FROM outbox WHERE at < now() - interval '{OUTBOX_KEPT}' RETURNING id)
                UPDATE outbox_trimmed SET upto = greatest(upto, (SELECT max(id) FROM gone))
                WHERE EXISTS (SELECT FROM gone)
                """  # noqa: S608  (a constant)
            )

    async def waiting(self) -> int:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute("SELECT count(*) FROM job_items WHERE state = 'queued'")
            row = await cursor.fetchone()
        return row[0] if row else 0


async def _finish(connection: Connection, items: Sequence[int], owner: UUID) -> None:
    await connection.execute(
        """
        UPDATE job_items SET state = 'done', finished_at = now(), lease_owner = NULL
        WHERE id = ANY(%s) AND lease_owner = %s AND state = 'queued'
        """,
        [list(items), owner],
    )


async def _lock(connection: Connection, task: Task) -> tuple[int, bool, int | None] | None:
    """The document, whether the index version is the active one, and the revision that is searchable now.

    None when the revision is not the newest any more, or document or index are gone.
    """
    cursor = await connection.execute(
        "SELECT pk, published FROM documents WHERE collection_id = %s AND id = %s AND latest = %s FOR UPDATE",
        [task.collection_id, task.document_id, task.revision],
    )
    document = await cursor.fetchone()
    cursor = await connection.execute("SELECT state = 'active' FROM indexes WHERE id = %s", [task.index_id])
    index = await cursor.fetchone()
    return (document[0], index[0], document[1]) if document and index else None


async def _replace(connection: Connection, pk: int, cut: Cut) -> None:
    """Put a document's passages in the place of the old ones in one index version."""
    task = cut.task
    cursor = await connection.execute("SELECT readers, filter_terms FROM revisions WHERE id = %s", [task.revision])
    row = await cursor.fetchone()
    assert row is not None
    readers, filter_terms = row
    await connection.execute("DELETE FROM chunks WHERE document_pk = %s AND index_id = %s", [pk, task.index_id])
    ids = [uuid7() for _ in cut.pieces]
    await connection.cursor().executemany(
        """
        INSERT INTO chunks (id, index_id, collection_id, document_pk, revision_id, ordinal, span_start, span_end, page,
                            headings, text, readers, filter_terms)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            (
                *(id, task.index_id, task.collection_id, pk, task.revision, ordinal, piece.start, piece.end),
                *(piece.page, list(piece.headings), piece.text, readers, filter_terms),
            )
            for ordinal, (id, piece) in enumerate(zip(ids, cut.pieces, strict=True))
        ],
    )
    await connection.cursor().executemany(
        """
        INSERT INTO vectors (chunk_id, index_id, collection_id, document_pk, readers, filter_terms, embedding)
        VALUES (%s, %s, %s, %s, %s, %s, %s::vector)
        """,
        [
            (id, task.index_id, task.collection_id, pk, readers, filter_terms, Floats(vector))
            for id, vector in zip(ids, cut.vectors, strict=True)
        ],
    )
    await connection.execute(
        "UPDATE indexes SET dimensions = %s WHERE id = %s AND dimensions IS NULL",
        [len(cut.vectors[0]) // 4, task.index_id],
    )


async def _show(connection: Connection, pk: int, revision: int, published: int | None) -> bool:
    """Make a revision the one that readers see; True when it took the place of another."""
    if published == revision:
        return False
    await connection.execute(
        """
        UPDATE documents SET published = %s, readers = (SELECT readers FROM revisions WHERE id = %s) WHERE pk = %s
        """,
        [revision, revision, pk],
    )
    await connection.execute("DELETE FROM revisions WHERE document_pk = %s AND id < %s", [pk, revision])
    return published is not None


async def _switch(connection: Connection, collection: UUID, index: int) -> None:
    """Let an index version that has every document take the place of the active one."""
    await connection.execute("DELETE FROM indexes WHERE collection_id = %s AND state = 'active'", [collection])
    await connection.execute("UPDATE indexes SET state = 'active' WHERE id = %s", [index])
    await connection.execute(
        """
        UPDATE documents d SET published = d.latest, readers = r.readers FROM revisions r
        WHERE r.id = d.latest AND d.collection_id = %s AND d.published IS DISTINCT FROM d.latest
        """,
        [collection],
    )
    await connection.execute(
        "DELETE FROM revisions r USING documents d WHERE d.pk = r.document_pk AND r.id < d.latest "
        "AND d.collection_id = %s",
        [collection],
    )
    await connection.execute(
        """
        UPDATE job_items SET state = 'done', finished_at = now()
        WHERE collection_id = %s AND index_id <> %s AND state = 'queued'
        """,
        [collection, index],
    )
    await raise_epoch(connection, [collection])
    await note_index(connection, collection)
