"""Lists of traces, newest first.

By words there are two ways: down the list, with a look into each trace until enough of them have the words, which is
short where many have them; and from the words to the traces, which is short where few do. Nothing tells beforehand
which one is: statistics know single words, not the newest traces and not two words together. So both are tried in
turns, a few steps first and then more, until one comes to its end. Whatever the words are and wherever they stand, that
takes a few times as long as the shorter way alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from psycopg.rows import TupleRow

from headrace_kit.stores.postgres import Postgres
from headrace_tracing.adapters.conditions import conditions, where
from headrace_tracing.adapters.rows import SUMMARY, summary_of
from headrace_tracing.domain.filters import TraceFilter
from headrace_tracing.domain.spans import Summary
from headrace_tracing.ports import Position

_FIRST, _TIMES = 128, 8
"""Traces that are looked into in the first turn, if two pages are not more; how many times as many in the next one, and
how many the index finds in the time of a look.
"""
# The value of a subquery and no join, which the planner may turn around.
_HAS_WORDS = """(
  SELECT bool_or(x.words @@ websearch_to_tsquery('simple', %s)) FROM tracing.day_texts x WHERE x.trace_id = t.trace_id{}
)"""
_OF_TENANT = " AND x.tenant = t.tenant AND x.day = t.day"
# An array, each of which the planner looks up: it is not long then.
_WITH_WORDS = """t.trace_id = ANY(ARRAY(
  SELECT trace_id FROM tracing.day_texts
  WHERE words @@ websearch_to_tsquery('simple', %s) AND (%s::text IS NULL OR tenant = %s)
))"""
_COUNTED = """
SELECT seen.number, CASE WHEN seen.number = %s THEN (
  SELECT count(*) FROM (
    SELECT FROM tracing.day_texts WHERE words @@ websearch_to_tsquery('simple', %s) LIMIT %s
  ) texts
) END FROM (SELECT count(*) AS number FROM ({}) t) seen
"""


async def newest(postgres: Postgres, wanted: TraceFilter, limit: int, after: Position | None) -> list[Summary]:
    """The page of `TraceStore.traces`."""
    if wanted.text:
        return await _newest_with_words(postgres, wanted, limit, after)
    found, values = _conditions(wanted, after)
    return [summary_of(row) for row in await postgres.fetch(_listed(found), *values, limit)]


async def _newest_with_words(
    postgres: Postgres, wanted: TraceFilter, limit: int, after: Position | None
) -> list[Summary]:
    near, near_values = _conditions(
        TraceFilter(tenant=wanted.tenant, from_ns=wanted.from_ns, to_ns=wanted.to_ns), after
    )
    found, values = _conditions(replace(wanted, text=""), after)
    # Another tenant's part of a trace, which only admins see, may be of another day.
    has_words = _HAS_WORDS.format("" if wanted.tenant is None else _OF_TENANT)
    down = _listed([*found, has_words], of=f"({_listed(near, 't.*')})")
    counted = _COUNTED.format(_listed(near, "t.trace_id"))
    steps = max(_FIRST, 2 * limit)
    while True:
        rows = await postgres.fetch(down, *near_values, steps, *values, wanted.text, limit)
        if len(rows) == limit:
            break
        many = steps * _TIMES
        [(seen, texts)] = await _by_index(postgres, counted, steps, wanted.text, many, *near_values, steps)
        if seen < steps:
            break  # there are no more
        if texts < many:
            those = wanted.text, wanted.tenant, wanted.tenant
            rows = await _by_index(postgres, _listed([*found, _WITH_WORDS]), *values, *those, limit)
            break
        steps = many
    return [summary_of(row) for row in rows]


async def _by_index(postgres: Postgres, query: str, *values: Any) -> list[TupleRow]:
    """Rows of a query that reads no table from its begin, as the planner likes it where it takes words for common."""
    async with postgres.transaction(pipelined=True) as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")
        rows = await connection.execute(query, values)
    return await rows.fetchall()


def _conditions(wanted: TraceFilter, after: Position | None) -> tuple[list[str], list[Any]]:
    found, values = conditions(wanted)
    if after is not None:
        found.append("(t.start_ns, t.trace_id, t.tenant) < (%s, %s, %s)")
        values += [after.start_ns, bytes.fromhex(after.trace_id), after.tenant]
    return found, values


def _listed(found: list[str], columns: str = SUMMARY, of: str = "tracing.traces") -> str:
    order = "ORDER BY t.start_ns DESC, t.trace_id DESC, t.tenant DESC"
    return f"SELECT {columns} FROM {of} t {where(found)} {order} LIMIT %s"  # noqa: S608  (constants only)
