"""Transactions that say for whom they are. Row-level security does the rest; without a word they see nothing."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from psycopg import adapters
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.array import ListDumper

from headrace_kit.stores.postgres import Connection, Postgres
from headrace_retrieval.domain.rights import Caller

_FLOAT4, _FLOAT4_ARRAY = 700, 1021
_ELEMENT = np.dtype([("length", ">i4"), ("value", ">f4")])


class Floats(bytes):
    """A vector of little-endian float32, sent to PostgreSQL as float4[] in binary; cast it to `vector` there."""


class _FloatsDumper(Dumper):
    format = Format.BINARY
    oid = _FLOAT4_ARRAY

    def dump(self, obj: Floats) -> Buffer:
        values = np.frombuffer(obj, "<f4")
        elements = np.empty(len(values), _ELEMENT)
        elements["length"] = 4
        elements["value"] = values
        return struct.pack(">5i", 1, 0, _FLOAT4, len(values), 1) + elements.tobytes()


class Database:
    """The service's PostgreSQL."""

    def __init__(self, postgres: Postgres) -> None:
        adapters.register_dumper(Floats, _FloatsDumper)
        self._postgres = postgres

    @asynccontextmanager
    async def reading(self, caller: Caller) -> AsyncIterator[Connection]:
        """A transaction that sees what `caller` may read, pipelined. Raises NotReady when the database is away."""
        async with self._postgres.transaction(pipelined=True) as connection:
            await _say(
                connection,
                tenant=caller.tenant,
                readers=text_array(caller.readers),
                whole="on" if caller.whole_tenant else "",
            )
            yield connection

    @asynccontextmanager
    async def writing(self, tenant: str) -> AsyncIterator[Connection]:
        """A transaction that sees and changes all of one tenant's own collections, no more. Raises NotReady."""
        async with self._postgres.transaction() as connection:
            await _say(connection, tenant=tenant, whole="on", fresh_plans=True)
            yield connection

    @asynccontextmanager
    async def remembering(self, tenant: str, person: str, *, whole: bool = False) -> AsyncIterator[Connection]:
        """A transaction that sees and changes one person's consents and conversations, and no other's.

        Args:
            whole: as `writing` besides, to keep and erase facts.

        Raises:
            NotReady: the database is away.
        """
        async with self._postgres.transaction() as connection:
            await _say(
                connection,
                tenant=tenant,
                readers=text_array({f"u:{person}"}),
                whole="on" if whole else "",
                fresh_plans=whole,
            )
            yield connection

    @asynccontextmanager
    async def system(self) -> AsyncIterator[Connection]:
        """A transaction for the service's own work, which sees everything. Never for a query of a caller."""
        async with self._postgres.transaction() as connection:
            await become_system(connection)
            yield connection


async def become_system(connection: Connection) -> None:
    """Widen the rest of a transaction to the service's own work."""
    await _say(connection, system="on", fresh_plans=True)


async def _say(connection: Connection, *, fresh_plans: bool = False, **settings: str) -> None:
    """Say for whom a transaction is.

    Args:
        fresh_plans: plan each statement for the rows that it is given. A plan that was kept from when a table was empty
            looks at every row of it for each one of a thousand documents.
    """
    said = {f"headrace.{name}": value for name, value in settings.items()}
    if fresh_plans:
        said["plan_cache_mode"] = "force_custom_plan"
    calls = ", ".join("set_config(%s, %s, true)" for _ in said)
    values = [part for setting in said.items() for part in setting]
    await connection.execute("SELECT " + calls, values)


def columns(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows as columns, for `unnest`."""
    turned = [list(column) for column in zip(*rows, strict=True)]
    return turned or [[] for _ in range(width)]


def text_array(values: Iterable[str], *, ordered: bool = False) -> str:
    """A PostgreSQL array literal; sorted unless the order is the caller's."""
    return _literal(tuple(values if ordered else sorted(values)))


@lru_cache(maxsize=1024)
def _literal(values: tuple[str, ...]) -> str:
    # Most rows have one of a few sets of rights, and no headings, filter terms or pages at all.
    dumped = ListDumper(list).dump(list(values)) if values else None
    return bytes(dumped or b"{}").decode()
