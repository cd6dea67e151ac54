"""Documents: accepting, replacing, reading and deleting them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb
from uuid_utils.compat import uuid7

from headrace_kit.errors import Conflict, NotFound
from headrace_kit.stores.postgres import Connection
from headrace_retrieval.adapters.postgres.session import Database
from headrace_retrieval.domain.model import Collection, DocumentInfo, Job, NewDocument, StoredDocument
from headrace_retrieval.domain.rights import Acl, Caller, narrow, readers_of


class PostgresDocuments:
    """`DocumentStore` on PostgreSQL.

    Locks are always taken in one order: a share of the collection (its rules stay as they are), documents by id, the
    collection's epoch, the outbox.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, tenant: str, collection: Collection, documents: Sequence[NewDocument]) -> UUID:
        """See the port.

        A document whose text is what is searchable already only changes its rights and metadata, at once. One whose
        text differs stays searchable as it was until the new text is, but to nobody who may not read the new text.
        """
        job = uuid7()
        async with self._database.writing(tenant) as connection:
            indexes, acl_required = await _lock_collection(connection, collection)
            await connection.execute(
                "INSERT INTO jobs (id, tenant, collection_id, kind) VALUES (%s, %s, %s, 'ingest')",
                [job, tenant, collection.id],
            )
            stored = _Accepted(connection, collection, acl_required)
            for document in sorted(documents, key=lambda document: document.id):
                revision, searchable = await stored.store(document)
                await connection.cursor().executemany(
                    """
                    INSERT INTO job_items
                        (job_id, tenant, collection_id, document_id, revision_id, index_id, state, finished_at)
                    VALUES (%s, %s, %s, %s, %s, %s, %s, CASE WHEN %s THEN now() END)
                    """,
                    [
                        (
                            *(job, tenant, collection.id, document.id, revision, index),
                            *("done" if searchable and active else "queued", searchable and active),
                        )
                        for index, active in indexes
                    ],
                )
            await stored.finish()
        return job

    async def get(self, caller: Caller, collection: Collection, document_id: str) -> StoredDocument | None:
        """See the port."""
        async with self._database.reading(caller) as connection:
            cursor = await connection.execute(
                """
                SELECT d.id, r.text, r.title, r.content_type, r.metadata, r.acl
                FROM documents d JOIN revisions r ON r.id = coalesce(d.published, d.latest)
                WHERE d.collection_id = %s AND d.id = %s
                """,
                [collection.id, document_id],
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        id, text, title, content_type, metadata, acl = row
        return StoredDocument(id, text, title, content_type, metadata, _acl(acl))

    async def listed(self, caller: Caller, collection: Collection, after: str, limit: int) -> list[DocumentInfo]:
        """See the port."""
        async with self._database.reading(caller) as connection:
            cursor = await connection.execute(
                """
                SELECT d.id, r.title, r.metadata, r.acl, char_length(r.text),
                       (SELECT count(*) FROM chunks c WHERE c.document_pk = d.pk AND c.index_id = %s),
                       d.published IS NOT NULL, d.updated_at
                FROM documents d JOIN revisions r ON r.id = coalesce(d.published, d.latest)
                WHERE d.collection_id = %s AND d.id > %s ORDER BY d.id LIMIT %s
                """,
                [collection.index_id, collection.id, after, limit],
            )
            rows = await cursor.fetchall()
        return [
            DocumentInfo(id, title, metadata, _acl(acl), characters, chunks, searchable, updated_at)
            for id, title, metadata, acl, characters, chunks, searchable, updated_at in rows
        ]

    async def delete(self, tenant: str, collection: Collection, document_id: str) -> bool:
        """See the port."""
        async with self._database.writing(tenant) as connection:
            await share_collections(connection, [collection.id])
            cursor = await connection.execute(
                "DELETE FROM documents WHERE collection_id = %s AND id = %s RETURNING pk", [collection.id, document_id]
            )
            row = await cursor.fetchone()
            if row is None:
                return False
            await raise_epoch(connection, [collection.id])
            await note_documents(connection, [(collection.id, row[0])])
        return True

    async def job(self, tenant: str, job: UUID) -> Job | None:
        """See the port."""
        async with self._database.reading(Caller(tenant)) as connection:
            cursor = await connection.execute(
                """
                SELECT c.name, count(i.id), count(i.id) FILTER (WHERE i.state = 'done'),
                       count(i.id) FILTER (WHERE i.state = 'queued'),
                       coalesce(bool_or(i.attempts > 0 OR i.state <> 'queued'), false)
                FROM jobs j JOIN collections c ON c.id = j.collection_id LEFT JOIN job_items i ON i.job_id = j.id
                WHERE j.id = %s GROUP BY c.name
                """,
                [job],
            )
            row = await cursor.fetchone()
            if row is None:
                return None
            cursor = await connection.execute(
                "SELECT document_id, error FROM job_items WHERE job_id = %s AND state = 'failed' ORDER BY id", [job]
            )
            errors = tuple((document, error) for document, error in await cursor.fetchall())
        name, documents, done, queued, begun = row
        state = ("running" if begun else "queued") if queued else ("failed" if errors else "done")
        return Job(job, name, state, documents, done, errors)


class _Accepted:
    """Documents being stored, one after the other, in one transaction."""

    def __init__(self, connection: Connection, collection: Collection, acl_required: bool) -> None:
        self._connection = connection
        self._collection = collection
        self._acl_required = acl_required
        self._changed: list[tuple[UUID, int]] = []
        self._epoch = False

    async def store(self, document: NewDocument) -> tuple[int, bool]:
        """Store one; returns its revision, and whether it is searchable already."""
        if document.acl is None and self._acl_required:
            raise Conflict("the collection has begun to want an acl for each document", param="documents")
        readers = readers_of(document.acl, self._acl_required)
        pk, published = await self._upsert(document, readers)
        revision = await self._insert(pk, document, readers)
        unchanged = False
        if published is not None:
            old = await self._row("SELECT content_hash FROM revisions WHERE id = %s", published)
            unchanged = old is not None and old[0] == document.content_hash
            if unchanged:
                await self._adopt(pk, published, revision, document, readers)
            else:
                await self._narrow(pk, published, readers)
        await self._connection.execute(
            "UPDATE documents SET latest = %s, updated_at = now() WHERE pk = %s", [revision, pk]
        )
        # Revisions that waited and were overtaken; the worker skips what is not there.
        await self._connection.execute(
            "DELETE FROM revisions WHERE document_pk = %s AND id <> %s AND id <> %s",
            [pk, revision, revision if unchanged or not published else published],
        )
        return revision, unchanged

    async def finish(self) -> None:
        """Write what comes last, in the order of locks."""
        if self._epoch:
            await raise_epoch(self._connection, [self._collection.id])
        await note_documents(self._connection, self._changed)

    async def _upsert(self, document: NewDocument, readers: frozenset[str]) -> tuple[int, int | None]:
        row = await self._row(
            """
            INSERT INTO documents AS d (collection_id, id, readers) VALUES (%s, %s, %s)
            ON CONFLICT (collection_id, id) DO UPDATE
                SET readers = CASE WHEN d.published IS NULL THEN excluded.readers ELSE d.readers END
            RETURNING pk, published
            """,
            self._collection.id,
            document.id,
            sorted(readers),
        )
        assert row is not None
        return row[0], row[1]

    async def _insert(self, pk: int, document: NewDocument, readers: frozenset[str]) -> int:
        row = await self._row(
            """
            INSERT INTO revisions (document_pk, collection_id, title, text, content_type, metadata, filter_terms, acl,
                                   readers, content_hash)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
            """,
            *(pk, self._collection.id, document.title, document.text, document.content_type),
            *(Jsonb(document.metadata), list(document.filter_terms), _acl_json(document.acl)),
            *(sorted(readers), document.content_hash),
        )
        assert row is not None
        return int(row[0])

    async def _adopt(
        self, pk: int, published: int, revision: int, document: NewDocument, readers: frozenset[str]
    ) -> None:
        """The text is the same: its passages become the new revision's, with its rights and metadata."""
        values = [sorted(readers), list(document.filter_terms)]
        await self._connection.execute(
            "UPDATE chunks SET revision_id = %s, readers = %s, filter_terms = %s WHERE revision_id = %s",
            [revision, *values, published],
        )
        await self._connection.execute(
            "UPDATE vectors SET readers = %s, filter_terms = %s WHERE document_pk = %s", [*values, pk]
        )
        old = await self._row("SELECT readers FROM documents WHERE pk = %s", pk)
        await self._connection.execute(
            "UPDATE documents SET published = %s, readers = %s WHERE pk = %s", [revision, values[0], pk]
        )
        self._changed.append((self._collection.id, pk))
        self._epoch |= old is not None and frozenset(old[0]) != readers

    async def _narrow(self, pk: int, published: int, readers: frozenset[str]) -> None:
        """Close the old text to whoever may not read the new one."""
        row = await self._row("SELECT readers FROM documents WHERE pk = %s", pk)
        assert row is not None
        old = frozenset(row[0])
        left = narrow(old, readers)
        if left == old:
            return
        for table, key, value in (
            ("documents", "pk", pk),
            ("revisions", "id", published),
            ("chunks", "document_pk", pk),
            ("vectors", "document_pk", pk),
        ):
            await self._connection.execute(
                f"UPDATE {table} SET readers = %s WHERE {key} = %s",  # noqa: S608  (names from the lines above)
                [sorted(left), value],
            )
        self._changed.append((self._collection.id, pk))
        self._epoch = True

    async def _row(self, query: str, *args: Any) -> Any:
        cursor = await self._connection.execute(query, args)
        return await cursor.fetchone()


async def share_collections(connection: Connection, collections: Sequence[UUID]) -> None:
    """Keep the rules and index versions of collections as they are until the transaction ends; others may do so too."""
    await connection.execute(
        "SELECT FROM collections WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE", [sorted(set(collections))]
    )


async def raise_epoch(connection: Connection, collections: Sequence[UUID]) -> None:
    """Let the epoch of collections grow: rights changed, or text that was searchable is gone."""
    await connection.execute(
        """
        UPDATE collections SET epoch = nextval('epochs')
        WHERE id IN (SELECT id FROM collections WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE)
        """,
        [sorted(set(collections))],
    )


async def note_documents(connection: Connection, changed: Sequence[tuple[UUID, int]]) -> None:
    """Tell every replica to read documents again. Holds up other writers until the transaction ends: do it last."""
    if changed:
        await connection.execute(
            """
            INSERT INTO outbox (collection_id, index_id, document_pk)
            SELECT i.collection_id, i.id, changed.pk
            FROM unnest(%s::uuid[], %s::bigint[]) AS changed (collection_id, pk)
            JOIN indexes i ON i.collection_id = changed.collection_id
            """,
            [[collection for collection, _ in changed], [pk for _, pk in changed]],
        )


async def _lock_collection(connection: Connection, collection: Collection) -> tuple[list[tuple[int, bool]], bool]:
    """Keep a collection's rules and index versions as they are until the transaction ends.

    Returns its index versions, each with whether it is the active one, and whether documents need an ACL.
    """
    await share_collections(connection, [collection.id])
    cursor = await connection.execute("SELECT acl = 'required' FROM collections WHERE id = %s", [collection.id])
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"there is no collection {collection.spec.name!r}", param="collection")
    cursor = await connection.execute(
        "SELECT id, state = 'active' FROM indexes WHERE collection_id = %s ORDER BY id", [collection.id]
    )
    return [(index, active) for index, active in await cursor.fetchall()], row[0]


def _acl(stored: Any) -> Acl | None:
    return None if stored is None else msgspec.convert(stored, Acl)


def _acl_json(acl: Acl | None) -> Jsonb | None:
    return None if acl is None else Jsonb(msgspec.to_builtins(acl))
