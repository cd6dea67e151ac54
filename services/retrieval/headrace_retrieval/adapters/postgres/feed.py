"""The outbox, as the replicas read it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from headrace_retrieval.adapters.postgres.session import Database
from headrace_retrieval.chunking.chunker import context
from headrace_retrieval.ports import Changes, IndexedPassage

_PASSAGES = """
SELECT c.id, c.document_pk, r.title, c.headings, c.text, c.readers, c.filter_terms
FROM chunks c JOIN revisions r ON r.id = c.revision_id
"""
_BATCH = 2000


class PostgresFeed:
    """`Feed` on PostgreSQL. Ids are in the order of commits: a trigger holds a lock from the first id to the commit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self) -> int:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                "SELECT greatest(coalesce((SELECT max(id) FROM outbox), 0), (SELECT upto FROM outbox_trimmed))"
            )
            row = await cursor.fetchone()
        return row[0] if row else 0

    async def indexes(self) -> list[int]:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                """
                SELECT i.id FROM indexes i JOIN collections c ON c.id = i.collection_id
                WHERE c.deleted_at IS NULL ORDER BY i.id
                """
            )
            return [index for (index,) in await cursor.fetchall()]

    async def changes(self, after: int, limit: int) -> Changes:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                "SELECT id, index_id, document_pk FROM outbox WHERE id > %s ORDER BY id LIMIT %s", [after, limit]
            )
            rows = await cursor.fetchall()
            cursor = await connection.execute("SELECT upto FROM outbox_trimmed")
            trimmed = await cursor.fetchone()
        documents: dict[int, set[int]] = {}
        for _, index, document in rows:
            if document is not None:
                documents.setdefault(index, set()).add(document)
        return Changes(
            upto=rows[-1][0] if rows else after,
            documents={index: frozenset(changed) for index, changed in documents.items()},
            whole=frozenset(index for _, index, document in rows if document is None),
            lost=trimmed is not None and trimmed[0] > after,
        )

    async def passages(self, index_id: int, documents: Sequence[int]) -> list[IndexedPassage]:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute(
                _PASSAGES + "WHERE c.index_id = %s AND c.document_pk = ANY(%s)", [index_id, list(documents)]
            )
            return [_passage(row) for row in await cursor.fetchall()]

    async def all_passages(self, index_id: int) -> AsyncIterator[list[IndexedPassage]]:
        """See the port."""
        async with self._database.system() as connection, connection.cursor("all_passages") as cursor:
            await cursor.execute(_PASSAGES + "WHERE c.index_id = %s", [index_id])
            while rows := await cursor.fetchmany(_BATCH):
                yield [_passage(row) for row in rows]


def _passage(row: Sequence[Any]) -> IndexedPassage:
    id, document, title, headings, text, readers, filter_terms = row
    return IndexedPassage(id, document, context(title, tuple(headings), text), readers, filter_terms)
