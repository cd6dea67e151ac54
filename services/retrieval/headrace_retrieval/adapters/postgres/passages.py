"""Passages as callers see them: nearest by vector, and read again before they are returned."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from headrace_kit.stores.postgres import Connection
from headrace_retrieval.adapters.postgres.session import Database, Floats
from headrace_retrieval.domain.metadata import Filter
from headrace_retrieval.domain.model import Passage
from headrace_retrieval.domain.rights import Caller


class PostgresPassages:
    """`PassageStore` on PostgreSQL and pgvector."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def view(self, caller: Caller) -> AsyncIterator[_View]:
        """See the port."""
        async with self._database.reading(caller) as connection:
            yield _View(connection, caller)


class _View:
    """`PassageView` in an open transaction."""

    def __init__(self, connection: Connection, caller: Caller) -> None:
        self._connection = connection
        self._caller = caller

    async def nearest(
        self, index_ids: Sequence[int], vector: bytes, wanted: Filter, limit: int
    ) -> list[tuple[UUID, float]]:
        """See the port. The search is exact: the order is by every vector that passes the filters."""
        conditions = ["index_id = ANY(%s)"]
        values: list[Any] = [list(index_ids)]
        if not self._caller.whole_tenant:
            conditions.append("readers && %s::text[]")
            values.append(sorted(self._caller.readers))
        for group in wanted:
            conditions.append("filter_terms && %s::text[]")
            values.append(list(group))
        cursor = await self._connection.execute(
            f"""
            SELECT chunk_id, 1 - (embedding <=> %s::vector) FROM vectors WHERE {" AND ".join(conditions)}
            ORDER BY embedding <=> %s::vector, chunk_id LIMIT %s
            """,  # noqa: S608  (conditions are the constants above)
            [Floats(vector), *values, Floats(vector), limit],
        )
        return [(chunk, float(score)) for chunk, score in await cursor.fetchall()]

    async def read(self, index_ids: Sequence[int], chunk_ids: Sequence[UUID]) -> Mapping[UUID, Passage]:
        """See the port."""
        cursor = await self._connection.execute(
            """
            SELECT c.id, c.collection_id, d.id, r.title, c.headings, c.text, c.span_start, c.span_end, c.page,
                   r.metadata,
                   ARRAY(SELECT p FROM unnest(r.page_starts) AS p WHERE p > c.span_start AND p < c.span_end ORDER BY p)
            FROM chunks c JOIN documents d ON d.pk = c.document_pk JOIN revisions r ON r.id = c.revision_id
            WHERE c.id = ANY(%s) AND c.index_id = ANY(%s)
            """,
            [list(chunk_ids), list(index_ids)],
        )
        return {
            row[0]: Passage(*row[:4], tuple(row[4]), *row[5:-1], page_breaks=tuple(row[-1]))  # type: ignore[call-arg,misc]
            for row in await cursor.fetchall()
        }
