"""Rows of a PostgreSQL query as a source."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import dict_row

from headrace_retrieval.domain.sources import Entry, SourceError, TextContent, Unreadable

_log = logging.getLogger(__name__)
_PAGE = 200
_CONNECT_S = 10


class DatabaseSource:
    """`Source` on a query, which runs in a transaction that can only read.

    Args:
        dsn: the database.
        query: returns `id` and `text`, perhaps `title`; what else it returns is metadata.
        timeout_s: longest time for the query with all of its rows.
    """

    def __init__(self, dsn: str, query: str, timeout_s: float) -> None:
        self._dsn = dsn
        self._query = query
        self._timeout_s = timeout_s

    async def entries(self) -> AsyncIterator[Entry]:
        """See the port."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._timeout_s
        try:
            async with await psycopg.AsyncConnection.connect(
                self._dsn, row_factory=dict_row, connect_timeout=_CONNECT_S, application_name="headrace"
            ) as connection:
                await connection.set_read_only(True)
                await connection.execute(
                    "SELECT set_config('statement_timeout', %s, true)", [str(int(self._timeout_s * 1000))]
                )
                async with connection.cursor("headrace_source") as cursor:
                    await cursor.execute(self._query.rstrip().removesuffix(";").encode())
                    _check([column.name for column in cursor.description or ()])
                    while rows := await cursor.fetchmany(_PAGE):
                        if loop.time() > until:
                            raise SourceError(f"the query's rows were not read within {self._timeout_s:g} s")
                        for row in rows:
                            yield _entry(row)
        except psycopg.Error as error:
            _log.warning("a source's database failed", exc_info=error)
            told = error.diag.message_primary
            raise SourceError(
                f"the database refused the query: {told}"
                if told and error.sqlstate
                else "the database cannot be reached"
            ) from None


def _check(columns: list[str]) -> None:
    missing = [name for name in ("id", "text") if name not in columns]
    if missing:
        raise SourceError(f"the query returns no column {missing[0]!r}; it returns: {', '.join(columns)}")


def _entry(row: Mapping[str, Any]) -> Entry:
    id, text, title = row["id"], row["text"], row.get("title")
    if id is None:
        raise SourceError("the query returns a row whose id is null")
    metadata = {
        name: _plain(value) for name, value in row.items() if name not in ("id", "text", "title") and value is not None
    }
    digest = hashlib.sha256(json.dumps([text, title, metadata], sort_keys=True, default=str).encode()).hexdigest()

    async def read() -> TextContent:
        if not isinstance(text, str):
            raise Unreadable("its text is null" if text is None else "its text is not of type text")
        return TextContent(text, "" if title is None else str(title), metadata)

    return Entry(str(id), digest, read)


def _plain(value: Any) -> Any:
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date):  # a datetime is one too
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
