"""Graphs (HNSW) over the vectors of large index versions, and the mean of each version's vectors."""

from __future__ import annotations

import numpy as np
from psycopg.errors import LockNotAvailable

from headrace_kit.stores.postgres import Connection
from headrace_retrieval.adapters.postgres.session import Database

GRAPH_FROM = 5000
"""Passages from which an index version has a graph; fewer are looked at one by one as quickly."""

UNSETTLED = 500
"""Passages that may wait beside a graph, looked at one by one."""

MOST_DIMENSIONS = 4000
_BATCH = 128
"""Rows settled in a transaction: their locks hold up a change of rights for a fraction of a second at most."""

_SAMPLE = 4096
_LOCK = 7021932483
_DROP_LOCK = 7021932484


class PostgresGraphs:
    """`Graphs` on pgvector."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def changed(self, after: int) -> tuple[int, frozenset[int]]:
        """See the port."""
        async with self._database.system() as connection:
            cursor = await connection.execute("SELECT coalesce(max(id), 0) FROM outbox")
            row = await cursor.fetchone()
            upto = row[0] if row else 0
            if after < 0:
                cursor = await connection.execute("SELECT id FROM indexes")
            else:
                cursor = await connection.execute("SELECT DISTINCT index_id FROM outbox WHERE id > %s", [after])
            return max(upto, after, 0), frozenset(index for (index,) in await cursor.fetchall())

    async def tend(self, index_id: int) -> bool:
        """See the port."""
        try:
            async with self._database.system() as connection:
                if not await _alone(connection, index_id):
                    return False
                cursor = await connection.execute(
                    "SELECT dimensions, graph, measured FROM indexes WHERE id = %s", [index_id]
                )
                row = await cursor.fetchone()
                if row is None or row[0] is None:
                    return False
                dimensions, graph, measured = row
                if await _measure(connection, index_id, measured):
                    return True
                if dimensions > MOST_DIMENSIONS:
                    return False
                waiting = await _count(connection, "index_id = %s AND NOT settled", index_id, GRAPH_FROM)
                if graph and waiting > UNSETTLED:
                    await _settle(connection, index_id)
                    return True
                if not graph and waiting >= GRAPH_FROM:
                    await connection.execute("SELECT make_graph(%s, %s)", [index_id, dimensions])
                    await connection.execute("UPDATE indexes SET graph = true WHERE id = %s", [index_id])
                    return True
                return False
        except LockNotAvailable:
            return True  # somebody works on the whole table: the next time

    async def drop_lost(self) -> None:
        """See the port."""
        try:
            async with self._database.system() as connection:
                cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [_DROP_LOCK])
                row = await cursor.fetchone()
                if row and row[0]:
                    await connection.execute("SELECT drop_graphs()")
        except LockNotAvailable:
            pass


async def _alone(connection: Connection, index_id: int) -> bool:
    cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s::bigint # %s::bigint)", [_LOCK, index_id])
    row = await cursor.fetchone()
    return bool(row and row[0])


async def _count(connection: Connection, condition: str, index_id: int, most: int) -> int:
    cursor = await connection.execute(
        f"SELECT count(*) FROM (SELECT FROM vectors WHERE {condition} LIMIT %s) AS part",  # noqa: S608  (constants)
        [index_id, most],
    )
    row = await cursor.fetchone()
    return row[0] if row else 0


async def _measure(connection: Connection, index_id: int, measured: int) -> bool:
    """Take the mean of a sample of the vectors, once there are twice as many as the last time; whether it was done."""
    there = await _count(connection, "index_id = %s", index_id, 2 * measured + 1)
    if there <= 2 * measured or not there:
        return False
    cursor = await connection.execute("SELECT count(*) FROM vectors WHERE index_id = %s", [index_id])
    row = await cursor.fetchone()
    total = row[0] if row else 0
    # The last byte of a chunk's id is random, so this is a fair sample, and the same one each time.
    cursor = await connection.execute(
        """
        SELECT avg(embedding)::real[] FROM vectors
        WHERE index_id = %s AND get_byte(uuid_send(chunk_id), 15) < %s
        """,
        [index_id, 256 if total <= _SAMPLE else max(1, 256 * _SAMPLE // total)],
    )
    row = await cursor.fetchone()
    if row is None or row[0] is None:
        return False
    mean = np.asarray(row[0], "<f4").tobytes()
    await connection.execute("UPDATE indexes SET mean = %s, measured = %s WHERE id = %s", [mean, total, index_id])
    return True


async def _settle(connection: Connection, index_id: int) -> None:
    """Put some passages into the graph. What is being changed meanwhile is left for the next time."""
    await connection.execute(
        """
        UPDATE vectors SET settled = true WHERE chunk_id IN (
            SELECT chunk_id FROM vectors WHERE index_id = %s AND NOT settled LIMIT %s FOR UPDATE SKIP LOCKED)
        """,
        [index_id, _BATCH],
    )
