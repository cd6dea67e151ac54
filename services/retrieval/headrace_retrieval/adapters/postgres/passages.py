"""Passages as callers see them: nearest by vector, and read again before they are returned."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

from headrace_kit.stores.postgres import Connection
from headrace_retrieval.adapters.postgres.session import Database, Floats, text_array
from headrace_retrieval.domain.metadata import Filter
from headrace_retrieval.domain.model import Passage
from headrace_retrieval.domain.rights import Caller
from headrace_retrieval.domain.widening import Piece, Wider, span

_EFFORT, _LEAST_EFFORT, _MOST_EFFORT = 2, 100, 1000
"""Candidates that a graph keeps while it is searched, for each passage wanted; at least, and what pgvector allows."""


class PostgresPassages:
    """`PassageStore` on PostgreSQL and pgvector."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def view(self, caller: Caller) -> AsyncIterator[_View]:
        """See the port."""
        async with self._database.reading(caller) as connection:
            yield _View(connection)


class _View:
    """`PassageView` in an open transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def nearest(
        self, index_ids: Sequence[int], vector: bytes, wanted: Filter, limit: int, few: Sequence[int] = ()
    ) -> list[tuple[UUID, float]]:
        """See the port."""
        cursor = await self._connection.execute(
            "SELECT chunk_id, score FROM nearest(%s::bigint[], %s, %s::text[], %s, %s::bigint[], %s)",
            [
                list(index_ids),
                Floats(vector),
                [text_array(group) for group in wanted],
                limit,
                list(few),
                min(max(_LEAST_EFFORT, _EFFORT * limit), _MOST_EFFORT),
            ],
        )
        return await cursor.fetchall()

    async def read(self, index_ids: Sequence[int], chunk_ids: Sequence[UUID]) -> Mapping[UUID, Passage]:
        """See the port."""
        cursor = await self._connection.execute(
            """
            SELECT c.id, c.collection_id, d.id, r.title, c.headings, c.text, c.span_start, c.span_end, c.page,
                   r.metadata,
                   ARRAY(SELECT p FROM unnest(r.page_starts) AS p WHERE p > c.span_start AND p < c.span_end ORDER BY p)
            FROM chunks c JOIN documents d ON d.pk = c.document_pk JOIN revisions r ON r.id = c.revision_id
            WHERE c.id = ANY(%s) AND c.index_id = ANY(%s) AND (d.expires_at IS NULL OR d.expires_at > now())
            """,
            [list(chunk_ids), list(index_ids)],
        )
        return {
            row[0]: Passage(*row[:4], tuple(row[4]), *row[5:-1], page_breaks=tuple(row[-1]))  # type: ignore[call-arg,misc]
            for row in await cursor.fetchall()
        }

    async def widen(
        self, index_ids: Sequence[int], passages: Sequence[Passage], wider: Wider
    ) -> Mapping[UUID, Passage]:
        """See the port."""
        cursor = await self._connection.execute(
            """
            SELECT c.id, c.ordinal, c.revision_id, n.ordinal, n.span_start, n.span_end, n.headings
            FROM chunks c JOIN chunks n ON n.document_pk = c.document_pk AND n.index_id = c.index_id
                AND n.revision_id = c.revision_id AND n.ordinal BETWEEN c.ordinal - %s AND c.ordinal + %s
            WHERE c.id = ANY(%s) AND c.index_id = ANY(%s)
            """,
            [wider.pieces, wider.pieces, [passage.chunk_id for passage in passages], list(index_ids)],
        )
        pieces: dict[UUID, list[Piece]] = {}
        places: dict[UUID, tuple[int, int]] = {}
        for chunk, own, revision, ordinal, start, end, headings in await cursor.fetchall():
            pieces.setdefault(chunk, []).append(Piece(ordinal, start, end, tuple(headings)))
            places[chunk] = (own, revision)
        spans = {chunk: span(found, places[chunk][0], wider) for chunk, found in pieces.items()}
        chunks = list(spans)
        cursor = await self._connection.execute(
            """
            SELECT w.chunk, substr(r.text, w.start + 1, w.finish - w.start),
                   (SELECT count(*) FROM unnest(r.page_starts) AS p WHERE p <= w.start),
                   ARRAY(SELECT p FROM unnest(r.page_starts) AS p WHERE p > w.start AND p < w.finish ORDER BY p)
            FROM unnest(%s::uuid[], %s::bigint[], %s::int[], %s::int[]) AS w (chunk, revision, start, finish)
            JOIN revisions r ON r.id = w.revision
            """,
            [
                chunks,
                [places[chunk][1] for chunk in chunks],
                [spans[chunk][0] for chunk in chunks],
                [spans[chunk][1] for chunk in chunks],
            ],
        )
        known = {passage.chunk_id: passage for passage in passages}
        return {
            chunk: replace(
                known[chunk],
                text=text,
                start=spans[chunk][0],
                end=spans[chunk][1],
                page=page or None,
                page_breaks=tuple(breaks),
            )
            for chunk, text, page, breaks in await cursor.fetchall()
        }
