"""Documents: accepting, replacing, reading and deleting them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from headrace_kit.errors import NotFound
from headrace_kit.stores.postgres import Connection
from headrace_retrieval.adapters.postgres.accept import store
from headrace_retrieval.adapters.postgres.session import Database, columns
from headrace_retrieval.domain.model import Collection, DocumentInfo, NewDocument, StoredDocument
from headrace_retrieval.domain.rights import Acl, Caller


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
        async with self._database.writing(tenant) as connection:
            return await take_in(connection, tenant, collection, documents)

    async def get(self, caller: Caller, collection: Collection, document_id: str) -> StoredDocument | None:
        """See the port."""
        async with self._database.reading(caller) as connection:
            cursor = await connection.execute(
                """
                SELECT d.id, r.text, r.title, r.content_type, r.metadata, r.acl, r.page_starts
                FROM documents d JOIN revisions r ON r.id = coalesce(d.published, d.latest)
                WHERE d.collection_id = %s AND d.id = %s AND (d.expires_at IS NULL OR d.expires_at > now())
                """,
                [collection.id, document_id],
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        id, text, title, content_type, metadata, acl, page_starts = row
        return StoredDocument(id, text, title, content_type, metadata, _acl(acl), tuple(page_starts))

    async def listed(self, caller: Caller, collection: Collection, after: str, limit: int) -> list[DocumentInfo]:
        """See the port."""
        async with self._database.reading(caller) as connection:
            cursor = await connection.execute(
                """
                SELECT d.id, r.title, r.metadata, r.acl, char_length(r.text),
                       (SELECT count(*) FROM chunks c WHERE c.document_pk = d.pk AND c.index_id = %s),
                       d.published IS NOT NULL, d.updated_at
                FROM documents d JOIN revisions r ON r.id = coalesce(d.published, d.latest)
                WHERE d.collection_id = %s AND d.id > %s AND (d.expires_at IS NULL OR d.expires_at > now())
                ORDER BY d.id LIMIT %s
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


async def take_in(
    connection: Connection, tenant: str, collection: Collection, documents: Sequence[NewDocument]
) -> UUID:
    """Store documents, and a job for them, in an open transaction that holds a share of the collection's lock.

    Raises:
        NotFound: the collection is gone.
        Conflict: a document has no ACL, and the collection has begun to want one.
    """
    job = uuid7()
    indexes, acl_required = await lock_collection(connection, collection)
    await connection.execute(
        "INSERT INTO jobs (id, tenant, collection_id, kind) VALUES (%s, %s, %s, 'ingest')",
        [job, tenant, collection.id],
    )
    accepted = await store(connection, collection.id, acl_required, documents)
    await connection.execute(
        """
        INSERT INTO job_items
            (job_id, tenant, collection_id, document_id, revision_id, index_id, state, finished_at)
        SELECT %s, %s, %s, u.document, u.revision, i.id,
               CASE WHEN u.searchable AND i.active THEN 'done' ELSE 'queued' END,
               CASE WHEN u.searchable AND i.active THEN now() END
        FROM unnest(%s::text[], %s::bigint[], %s::boolean[])
             WITH ORDINALITY AS u (document, revision, searchable, position)
        CROSS JOIN unnest(%s::bigint[], %s::boolean[]) AS i (id, active)
        ORDER BY u.position
        """,
        [
            *(job, tenant, collection.id),
            *columns([(one.document_id, one.revision, one.searchable) for one in accepted.documents], 3),
            *columns(indexes, 2),
        ],
    )
    if accepted.rights_changed:
        await raise_epoch(connection, [collection.id])
    await note_documents(connection, [(collection.id, pk) for pk in accepted.touched])
    return job


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


async def lock_collection(connection: Connection, collection: Collection) -> tuple[list[tuple[int, bool]], bool]:
    """Keep a collection's rules and index versions as they are until the transaction ends.

    Returns its index versions, each with whether it is the active one, and whether documents need an ACL. Raises
    NotFound.
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
