"""Documents into the record: all of a request in a handful of statements, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from headrace_kit.errors import Conflict
from headrace_kit.stores.postgres import Connection
from headrace_retrieval.adapters.postgres.session import columns, text_array
from headrace_retrieval.domain.model import NewDocument
from headrace_retrieval.domain.rights import Acl, narrow, readers_of


@dataclass(frozen=True, slots=True)
class AcceptedDocument:
    """A document that was stored. `searchable`: its text is what searches see already."""

    document_id: str
    revision: int
    searchable: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """What storing did. `touched` are keys of documents whose searchable passages changed their rights or metadata."""

    documents: Sequence[AcceptedDocument]
    touched: Sequence[int]
    rights_changed: bool


@dataclass(slots=True)
class _Stored:
    """A document on its way; `published` is the revision that was searchable before, `known` that there was any."""

    document: NewDocument
    readers: frozenset[str]
    pk: int = 0
    published: int | None = None
    known: bool = False
    revision: int = 0
    old_readers: frozenset[str] = frozenset()
    searchable: bool = False


async def store(
    connection: Connection, collection: UUID, acl_required: bool, documents: Sequence[NewDocument]
) -> Accepted:
    """Store documents in an open transaction of their tenant, which holds a share of the collection's lock.

    Text that is searchable already only gets its new rights and metadata. Other text waits for the worker; what it
    will replace is closed to whoever may not read it.

    Raises:
        Conflict: a document has no ACL, and the collection has begun to want one.
    """
    if acl_required and any(document.acl is None for document in documents):
        raise Conflict("the collection has begun to want an acl for each document", param="documents")
    stored = {one.id: _Stored(one, readers_of(one.acl, acl_required)) for one in documents}
    await _upsert(connection, collection, stored)
    await _insert_revisions(connection, collection, list(stored.values()))
    await _compare(connection, [one for one in stored.values() if one.published is not None])
    same = [one for one in stored.values() if one.searchable]
    await _adopt(connection, same)
    closed = [
        (one, left)
        for one in stored.values()
        if one.published is not None
        and not one.searchable
        and (left := narrow(one.old_readers, one.readers)) != one.old_readers
    ]
    await _close(connection, closed)
    await _settle(connection, list(stored.values()))
    return Accepted(
        documents=[AcceptedDocument(one.document.id, one.revision, one.searchable) for one in stored.values()],
        touched=[one.pk for one in same] + [one.pk for one, _ in closed],
        rights_changed=bool(closed) or any(one.old_readers != one.readers for one in same),
    )


async def _upsert(connection: Connection, collection: UUID, stored: dict[str, _Stored]) -> None:
    """Make the documents' rows, or lock those that are there, in the order of ids."""
    cursor = await connection.execute(
        """
        INSERT INTO documents AS d (collection_id, id, readers, person, expires_at)
        SELECT %s, u.id, u.readers::text[], u.person, u.expires_at
        FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[]) AS u (id, readers, person, expires_at)
        ORDER BY u.id COLLATE "C"
        ON CONFLICT (collection_id, id) DO UPDATE
            SET readers = CASE WHEN d.published IS NULL THEN excluded.readers ELSE d.readers END,
                expires_at = excluded.expires_at
        RETURNING d.id, d.pk, d.published, d.latest IS NOT NULL, d.readers
        """,
        [
            collection,
            *columns(
                [
                    (id, text_array(one.readers), one.document.person or None, one.document.expires_at)
                    for id, one in stored.items()
                ],
                4,
            ),
        ],
    )
    for id, pk, published, known, readers in await cursor.fetchall():
        one = stored[id]
        one.pk, one.published, one.known, one.old_readers = pk, published, known, frozenset(readers)


async def _insert_revisions(connection: Connection, collection: UUID, stored: Sequence[_Stored]) -> None:
    cursor = await connection.execute(
        """
        INSERT INTO revisions (document_pk, collection_id, title, text, content_type, metadata, filter_terms, acl,
                               readers, content_hash, page_starts)
        SELECT u.pk, %s, u.title, u.text, u.content_type, u.metadata::jsonb, u.filter_terms::text[], u.acl::jsonb,
               u.readers::text[], u.content_hash, u.page_starts::integer[]
        FROM unnest(%s::bigint[], %b::text[], %b::text[], %s::text[], %b::text[], %s::text[], %b::text[], %s::text[],
                    %b::bytea[], %s::text[])
             AS u (pk, title, text, content_type, metadata, filter_terms, acl, readers, content_hash, page_starts)
        RETURNING document_pk, id
        """,
        [
            collection,
            *columns(
                [
                    (
                        *(one.pk, one.document.title, one.document.text, one.document.content_type),
                        *(_json(one.document.metadata), text_array(one.document.filter_terms), _acl(one.document.acl)),
                        *(text_array(one.readers), one.document.content_hash),
                        text_array(map(str, one.document.page_starts), ordered=True),
                    )
                    for one in stored
                ],
                10,
            ),
        ],
    )
    revisions: dict[int, int] = dict(await cursor.fetchall())
    for one in stored:
        one.revision = revisions[one.pk]


async def _compare(connection: Connection, replaced: Sequence[_Stored]) -> None:
    """Find out whose text is the one that is searchable."""
    if replaced:
        cursor = await connection.execute(
            "SELECT id, content_hash FROM revisions WHERE id = ANY(%s)", [[one.published for one in replaced]]
        )
        hashes: dict[int | None, bytes] = dict(await cursor.fetchall())
        for one in replaced:
            one.searchable = hashes.get(one.published) == one.document.content_hash


_ADOPTED = """
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[])
     AS u (pk, published, revision, readers, filter_terms)
"""


async def _adopt(connection: Connection, same: Sequence[_Stored]) -> None:
    """The text is the same: its passages become the new revision's, with its rights and metadata."""
    if not same:
        return
    rows = [
        (one.pk, one.published, one.revision, text_array(one.readers), text_array(one.document.filter_terms))
        for one in same
    ]
    given = columns(rows, 5)
    for keys, change in (
        (
            given[1],
            "UPDATE chunks SET revision_id = u.revision, readers = u.readers::text[],"
            " filter_terms = u.filter_terms::text[]"
            " {} WHERE chunks.revision_id = u.published AND chunks.revision_id = ANY(%s)",
        ),
        (
            given[0],
            "UPDATE vectors SET readers = u.readers::text[], filter_terms = u.filter_terms::text[]"
            " {} WHERE vectors.document_pk = u.pk AND vectors.document_pk = ANY(%s)",
        ),
        (
            given[0],
            "UPDATE documents SET published = u.revision, readers = u.readers::text[]"
            " {} WHERE documents.pk = u.pk AND documents.pk = ANY(%s)",
        ),
    ):
        await connection.execute(change.format(_ADOPTED), [*given, keys])


async def _close(connection: Connection, closed: Sequence[tuple[_Stored, frozenset[str]]]) -> None:
    """Narrow the readers of old text that waits for its replacement."""
    if not closed:
        return
    rows = columns([(one.pk, one.published, text_array(left)) for one, left in closed], 3)
    for table, key, value in (
        ("documents", "pk", "pk"),
        ("revisions", "id", "published"),
        ("chunks", "document_pk", "pk"),
        ("vectors", "document_pk", "pk"),
    ):
        await connection.execute(
            f"""
            UPDATE {table} SET readers = u.readers::text[]
            FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) AS u (pk, published, readers)
            WHERE {table}.{key} = u.{value} AND {table}.{key} = ANY(%s)
            """,  # noqa: S608  (names from the lines above)
            [*rows, rows[1 if value == "published" else 0]],
        )


async def _settle(connection: Connection, stored: Sequence[_Stored]) -> None:
    """Name the newest revisions, and drop those that waited and were overtaken; the worker skips what is not there."""
    # The keys stand in the conditions once more: the policies' conditions let the planner expect hardly any row of the
    # table, and compare each that there is with each that is given.
    pks = [one.pk for one in stored]
    await connection.execute(
        """
        UPDATE documents SET latest = u.revision, updated_at = now()
        FROM unnest(%s::bigint[], %s::bigint[]) AS u (pk, revision)
        WHERE documents.pk = u.pk AND documents.pk = ANY(%s)
        """,
        [pks, [one.revision for one in stored], pks],
    )
    known = [one for one in stored if one.known]
    if known:
        rows = columns([(one.pk, one.revision, None if one.searchable else one.published) for one in known], 3)
        await connection.execute(
            """
            DELETE FROM revisions
            USING unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS u (pk, revision, kept)
            WHERE revisions.document_pk = u.pk AND revisions.document_pk = ANY(%s)
              AND revisions.id <> u.revision AND revisions.id IS DISTINCT FROM u.kept
            """,
            [*rows, rows[0]],
        )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _acl(acl: Acl | None) -> str | None:
    return None if acl is None else _json(acl)
