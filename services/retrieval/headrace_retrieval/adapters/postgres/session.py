"""Transactions that say for whom they are. Row-level security does the rest; without a word they see nothing."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
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
        """A transaction that sees what `caller` may read. Raises NotReady when the database is away."""
        async with self._postgres.transaction() as connection:
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
            await _say(connection, tenant=tenant, whole="on")
            yield connection

    @asynccontextmanager
    async def system(self) -> AsyncIterator[Connection]:
        """A transaction for the service's own work, which sees everything. Never for a query of a caller."""
        async with self._postgres.transaction() as connection:
            await become_system(connection)
            yield connection


async def become_system(connection: Connection) -> None:
    """Widen the rest of a transaction to the service's own work."""
    await _say(connection, system="on")


async def _say(connection: Connection, **settings: str) -> None:
    calls = ", ".join("set_config(%s, %s, true)" for _ in settings)
    values = [part for name, value in settings.items() for part in (f"headrace.{name}", value)]
    await connection.execute("SELECT " + calls, values)


def columns(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows as columns, for `unnest`."""
    turned = [list(column) for column in zip(*rows, strict=True)]
    return turned or [[] for _ in range(width)]


def text_array(values: Iterable[str], *, ordered: bool = False) -> str:
    """A PostgreSQL array literal; sorted unless the order is the caller's."""
    dumped = ListDumper(list).dump(list(values) if ordered else sorted(values))
    return bytes(dumped or b"{}").decode()
