"""The durable queue: who works on what, and making a document searchable in one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from uuid_utils.compat import uuid7

from headrace_kit.stores.postgres import Connection
from headrace_retrieval.adapters.postgres.collections import note_index
from headrace_retrieval.adapters.postgres.documents import note_documents, raise_epoch, share_collections
from headrace_retrieval.adapters.postgres.session import Database, Floats, columns, text_array
from headrace_retrieval.domain.documents import MARKDOWN
from headrace_retrieval.domain.model import IndexSpec
from headrace_retrieval.ports import Cut, Task, Work

LEASE_S = 20
JOBS_KEPT = "7 days"
OUTBOX_KEPT = "1 day"
_DELETE_BATCH = 2000
_VECTORS_A_STATEMENT = 500

# What an index version still lacks. A failure of a text that was replaced or deleted since lacks nothing.
_LACKS = """(t.state = 'queued' OR t.state = 'failed' AND EXISTS (
    SELECT FROM documents d
    WHERE d.collection_id = t.collection_id AND d.id = t.document_id AND d.latest = t.revision_id))"""


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

    async def load(self, tasks: Sequence[Task], max_bytes: int) -> tuple[list[Work], list[Task]]:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                """
                SELECT u.item, octet_length(r.text), i.embedding, i.max_tokens, i.overlap_tokens
                FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS u (item, revision, index_id)
                JOIN revisions r ON r.id = u.revision
                JOIN documents d ON d.pk = r.document_pk AND d.latest = r.id
                JOIN collections c ON c.id = d.collection_id AND c.deleted_at IS NULL
                JOIN indexes i ON i.id = u.index_id
                """,
                columns([(task.item, task.revision, task.index_id) for task in tasks], 3),
            )
            wanted = {item: (size, IndexSpec(*index)) for item, size, *index in await cursor.fetchall()}
            await _finish(connection, [task.item for task in tasks if task.item not in wanted], self._owner)
            there = [task for task in tasks if task.item in wanted]
            taken = _first(there, [wanted[task.item][0] for task in there], max_bytes)
            cursor = await connection.execute(
                "SELECT id, title, text, content_type, page_starts FROM revisions WHERE id = ANY(%s)",
                [[task.revision for task in there[:taken]]],
            )
            content = {
                id: (title, text, kind == MARKDOWN, tuple(pages))
                for id, title, text, kind, pages in await cursor.fetchall()
            }
        works = [Work(task, *content[task.revision], wanted[task.item][1]) for task in there[:taken]]
        return works, there[taken:]

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
            fresh = await _lock(connection, [cut for cut in cuts if cut.task.item in mine])
            await _replace(connection, fresh)
            replaced = await _show(connection, [one for one in fresh if one.active])
            await _finish(connection, sorted(mine), self._owner)
            if replaced:
                await raise_epoch(connection, replaced)
            await note_documents(connection, [(one.cut.task.collection_id, one.pk) for one in fresh])
        return len(fresh)

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
                f"""
                SELECT c.id, i.id FROM collections c JOIN indexes i ON i.collection_id = c.id AND i.state = 'building'
                WHERE c.deleted_at IS NULL
                  AND NOT EXISTS (SELECT FROM job_items t WHERE t.index_id = i.id AND {_LACKS})
                FOR UPDATE OF c SKIP LOCKED
                """  # noqa: S608  (a constant)
            )
            promoted = 0
            for collection, index in await cursor.fetchall():
                # Again under the lock: a document may have been stored since.
                cursor = await connection.execute(
                    f"SELECT 1 FROM job_items t WHERE t.index_id = %s AND {_LACKS} LIMIT 1",  # noqa: S608
                    [index],
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
                  AND NOT EXISTS (SELECT FROM job_items t WHERE t.job_id = j.id AND {_LACKS})
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


def _first(tasks: Sequence[Task], sizes: Sequence[int], limit: int) -> int:
    """How many of the first tasks stay within the limit together; at least one of those that there are."""
    total = 0
    for position, size in enumerate(sizes):
        total += size
        if position and total > limit:
            return position
    return len(tasks)


async def _finish(connection: Connection, items: Sequence[int], owner: UUID) -> None:
    await connection.execute(
        """
        UPDATE job_items SET state = 'done', finished_at = now(), lease_owner = NULL
        WHERE id = ANY(%s) AND lease_owner = %s AND state = 'queued'
        """,
        [list(items), owner],
    )


@dataclass(frozen=True, slots=True)
class _Fresh:
    """A cut that is still wanted. `published` is the revision that is searchable now."""

    cut: Cut
    pk: int
    active: bool
    published: int | None


async def _lock(connection: Connection, cuts: Sequence[Cut]) -> list[_Fresh]:
    """Lock the documents, in the order of ids; left out are those whose revision is not the newest any more."""
    by_item = {cut.task.item: cut for cut in cuts}
    cursor = await connection.execute(
        """
        SELECT u.item, d.pk, i.state = 'active', d.published
        FROM unnest(%s::bigint[], %s::uuid[], %s::text[], %s::bigint[], %s::bigint[])
             AS u (item, collection_id, id, revision, index_id)
        JOIN documents d ON d.collection_id = u.collection_id AND d.id = u.id AND d.latest = u.revision
        JOIN indexes i ON i.id = u.index_id
        ORDER BY d.collection_id, d.id FOR UPDATE OF d
        """,
        columns([(t.item, t.collection_id, t.document_id, t.revision, t.index_id) for t in (c.task for c in cuts)], 5),
    )
    return [_Fresh(by_item[item], pk, active, published) for item, pk, active, published in await cursor.fetchall()]


async def _replace(connection: Connection, fresh: Sequence[_Fresh]) -> None:
    """Put documents' passages in the place of the old ones, each in its index version."""
    # A document of which nothing is searchable yet has no passages in the active version.
    replaced = [one for one in fresh if one.published is not None or not one.active]
    if replaced:
        await connection.execute(
            """
            DELETE FROM chunks USING unnest(%s::bigint[], %s::bigint[]) AS u (pk, index_id)
            WHERE chunks.document_pk = u.pk AND chunks.index_id = u.index_id AND chunks.document_pk = ANY(%s)
            """,
            [*columns([(one.pk, one.cut.task.index_id) for one in replaced], 2), [one.pk for one in replaced]],
        )
    rows = [
        (uuid7(), one, ordinal, piece, vector)
        for one in fresh
        for ordinal, (piece, vector) in enumerate(zip(one.cut.pieces, one.cut.vectors, strict=True))
    ]
    await connection.execute(
        """
        INSERT INTO chunks (id, index_id, collection_id, document_pk, revision_id, ordinal, span_start, span_end, page,
                            headings, text, readers, filter_terms)
        SELECT u.id, u.index_id, r.collection_id, r.document_pk, r.id, u.ordinal, u.span_start, u.span_end, u.page,
               u.headings::text[], u.text, r.readers, r.filter_terms
        FROM unnest(%b::uuid[], %s::bigint[], %s::bigint[], %s::int[], %s::int[], %s::int[], %s::int[], %s::text[],
                    %b::text[])
             AS u (id, index_id, revision, ordinal, span_start, span_end, page, headings, text)
        JOIN revisions r ON r.id = u.revision
        """,
        columns(
            [
                (
                    *(id, one.cut.task.index_id, one.cut.task.revision, ordinal, piece.start, piece.end, piece.page),
                    *(text_array(piece.headings, ordered=True), piece.text),
                )
                for id, one, ordinal, piece, _ in rows
            ],
            9,
        ),
    )
    for at in range(0, len(rows), _VECTORS_A_STATEMENT):
        part = rows[at : at + _VECTORS_A_STATEMENT]
        values = ", ".join(["(%s::uuid, %s::vector)"] * len(part))
        await connection.execute(
            f"""
            INSERT INTO vectors (chunk_id, index_id, collection_id, document_pk, readers, filter_terms, embedding)
            SELECT c.id, c.index_id, c.collection_id, c.document_pk, c.readers, c.filter_terms, v.embedding
            FROM (VALUES {values}) AS v (id, embedding) JOIN chunks c ON c.id = v.id
            """,  # noqa: S608  (placeholders)
            [value for id, _, _, _, vector in part for value in (id, Floats(vector))],
        )
    dimensions = {one.cut.task.index_id: len(one.cut.vectors[0]) // 4 for one in fresh}
    await connection.execute(
        """
        UPDATE indexes SET dimensions = u.dimensions FROM unnest(%s::bigint[], %s::int[]) AS u (id, dimensions)
        WHERE indexes.id = u.id AND indexes.dimensions IS NULL
        """,
        columns(dimensions.items(), 2),
    )


async def _show(connection: Connection, fresh: Sequence[_Fresh]) -> list[UUID]:
    """Make revisions the ones that readers see. Returns the collections where one took the place of another."""
    shown = [one for one in fresh if one.published != one.cut.task.revision]
    replaced = [one for one in shown if one.published is not None]
    given = columns([(one.pk, one.cut.task.revision) for one in shown], 2)
    newest = "unnest(%s::bigint[], %s::bigint[]) AS u (pk, revision)"
    await connection.execute(
        f"""
        UPDATE documents SET published = r.id, readers = r.readers FROM {newest} JOIN revisions r ON r.id = u.revision
        WHERE documents.pk = u.pk AND documents.pk = ANY(%s) AND r.id = ANY(%s)
        """,  # noqa: S608  (a constant)
        [*given, *given],
    )
    # Storing keeps no older revision but the one that is searchable.
    if replaced:
        await connection.execute(
            f"""
            DELETE FROM revisions USING {newest}
            WHERE revisions.document_pk = u.pk AND revisions.id < u.revision AND revisions.document_pk = ANY(%s)
            """,  # noqa: S608  (a constant)
            [*columns([(one.pk, one.cut.task.revision) for one in replaced], 2), [one.pk for one in replaced]],
        )
    return [one.cut.task.collection_id for one in replaced]


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
