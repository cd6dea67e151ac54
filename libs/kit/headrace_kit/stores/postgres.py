"""Connections to PostgreSQL that come back by themselves."""

from __future__ import annotations

import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from headrace_kit.errors import NotReady

Connection = psycopg.AsyncConnection[TupleRow]


async def check(connection: Connection) -> None:
    """Raise OperationalError unless a connection that lay idle can be used.

    A server that has ended it says so on the socket, where there is nothing to read otherwise; only then is the server
    asked, which takes a round trip.
    """
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if waiting.poll(0):
        await AsyncConnectionPool.check_connection(connection)


class Postgres:
    """A pool. Opening it does not wait for the server, so a service starts and serves while it is away.

    Args:
        dsn: libpq connection string.
        schema: the service's own schema, first on the search path.
        max_size: most connections.
        wait_s: longest wait for a connection.
    """

    def __init__(self, dsn: str, schema: str, max_size: int = 4, wait_s: float = 5) -> None:
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            dsn,
            min_size=1,
            max_size=max_size,
            timeout=wait_s,
            open=False,
            reconnect_timeout=5,
            check=check,
            kwargs={
                "autocommit": True,
                "options": f"-c search_path={schema},public",
                "application_name": f"headrace-{schema}",
                "connect_timeout": 5,
            },
        )

    async def open(self) -> None:
        """Start to connect in the background."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close(timeout=2)

    @asynccontextmanager
    async def transaction(self, *, pipelined: bool = False) -> AsyncIterator[Connection]:
        """A connection in a transaction: committed at the end, rolled back on an exception.

        Args:
            pipelined: statements are sent without waiting for each one's answer, until rows are fetched; an error
                may be raised only then. Rows that are fetched after the end of the transaction need no waiting of
                their own.

        Raises:
            NotReady: the database cannot be reached, or went away.
        """
        async with self._connection() as connection:
            if not pipelined:
                async with connection.transaction():
                    yield connection
                return
            # `connection.transaction()` waits for the server after BEGIN and three times at the end of a pipeline.
            try:
                async with connection.pipeline():
                    await connection.execute("BEGIN", prepare=False)
                    yield connection
                    await connection.execute("COMMIT", prepare=False)
            finally:
                if not connection.closed and connection.info.transaction_status is not TransactionStatus.IDLE:
                    await connection.rollback()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise NotReady("the database cannot be reached; try again shortly", retry_after_s=1) from error

    async def fetch(self, query: Any, *args: Any) -> list[TupleRow]:
        """Run one query in a transaction of its own and return its rows. Raises as `transaction`."""
        async with self._connection() as connection:  # one statement is a transaction, and needs no words around it
            cursor = await connection.execute(query, args)
            return await cursor.fetchall() if cursor.description else []
