"""Spans of traces that are over out of PostgreSQL, a chunk of traces in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby

from headrace_kit.stores.postgres import Connection
from headrace_tracing.adapters.rows import SUMMARY, summary_of
from headrace_tracing.domain.spans import Summary
from headrace_tracing.domain.thinning import THINNED
from headrace_tracing.ports import Settled

_ONE_AT_A_TIME = "SELECT pg_try_advisory_xact_lock(1751474533)"
_OVER = """
SELECT DISTINCT trace_id FROM (
  SELECT trace_id FROM tracing.traces t
  WHERE settled = 0 AND last_seen < now() - make_interval(secs => %s) AND NOT EXISTS (
    SELECT 1 FROM tracing.traces o WHERE o.trace_id = t.trace_id AND o.last_seen >= now() - make_interval(secs => %s)
  )
  ORDER BY day LIMIT %s
) over
"""
# In the order in which writers lock them. What a writer had locked is seen as that left it.
_LOCKED = f"""
SELECT {SUMMARY}, day, settled = 0, last_seen < now() - make_interval(secs => %s)
FROM tracing.traces WHERE trace_id = ANY(%s) ORDER BY trace_id, tenant FOR UPDATE
"""  # noqa: S608  (constants only)
_MEANT = (
    "trace_id = ANY(%s) AND day = ANY(%s) AND (trace_id, tenant) IN (SELECT * FROM unnest(%s::bytea[], %s::text[]))"
)
_SETTLE = f"""
WITH gone AS (
  DELETE FROM tracing.day_spans WHERE {_MEANT} RETURNING trace_id, tenant, span_id
), ids AS (
  SELECT trace_id, tenant, string_agg(span_id, '' ORDER BY span_id) AS ids FROM gone GROUP BY trace_id, tenant
), done AS (
  UPDATE tracing.traces t SET settled = 1, thinned = t.thinned || coalesce(ids.ids, '')
  FROM unnest(%s::bytea[], %s::text[]) AS meant (trace_id, tenant) LEFT JOIN ids USING (trace_id, tenant)
  WHERE t.trace_id = meant.trace_id AND t.tenant = meant.tenant
)
SELECT count(*) FROM gone
"""  # noqa: S608
_REST = ("day_contents", "day_sealed", "day_texts")


async def settle(
    connection: Connection, outcome: Callable[[Sequence[Summary]], str], quiet_s: float, limit: int
) -> Settled:
    """See `TraceStore.settle`."""
    if not (await (await connection.execute(_ONE_AT_A_TIME)).fetchall())[0][0]:
        return Settled()  # another replica is at it
    found = await (await connection.execute(_OVER, (quiet_s, quiet_s, limit))).fetchall()
    over = [row[0] for row in found]
    if not over:
        return Settled()
    rows = await (await connection.execute(_LOCKED, (quiet_s, over))).fetchall()
    outcomes: Counter[str] = Counter()
    settled: list[tuple[bytes, str]] = []
    doomed: list[tuple[bytes, str]] = []
    days: set[int] = set()
    for trace_id, group in groupby(rows, key=lambda row: row[0]):
        parts = list(group)
        if not all(part[-1] for part in parts) or not any(part[-2] for part in parts):
            continue  # a span came in the meantime
        summaries = [summary_of(part[:-3]) for part in parts]
        became = outcome(summaries)
        outcomes[became] += 1
        pairs = [(trace_id, summary.tenant) for summary in summaries]
        settled += pairs
        if became == THINNED:
            doomed += pairs
            days.update(part[-3] for part in parts)
    traces, tenants = [pair[0] for pair in doomed], [pair[1] for pair in doomed]
    meant = (traces, sorted(days), traces, tenants)
    all_of_them = ([pair[0] for pair in settled], [pair[1] for pair in settled])
    spans = (await (await connection.execute(_SETTLE, (*meant, *all_of_them))).fetchall())[0][0]
    if doomed:
        for part in _REST:
            await connection.execute(f"DELETE FROM tracing.{part} WHERE {_MEANT}", meant)  # noqa: S608
    return Settled(dict(outcomes), spans)
