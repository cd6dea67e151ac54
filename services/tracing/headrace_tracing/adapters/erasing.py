"""Traces of a tenant or a person out of PostgreSQL, with all that belongs to them."""

from __future__ import annotations

from typing import Any

from headrace_kit.stores.postgres import Connection

_TRACES = """
DELETE FROM tracing.traces t USING (
  SELECT trace_id, tenant FROM tracing.traces WHERE tenant = %s AND (%s = '' OR user_digest = %s) LIMIT %s
) old WHERE t.trace_id = old.trace_id AND t.tenant = old.tenant
RETURNING t.trace_id, t.day
"""
# Spans without a tenant below those of this one go with them.
_PARTS = "DELETE FROM tracing.{} WHERE trace_id = ANY(%s) AND day = ANY(%s) AND tenant IN (%s, '')"
_SAID = "DELETE FROM tracing.feedback WHERE tenant = %s AND (%s = '' OR user_name = %s) RETURNING trace_id"
_COUNTED_AGAIN = """
UPDATE tracing.traces t SET
  score_sum = coalesce(f.score_sum, 0), scores = coalesce(f.scores, 0), said = coalesce(f.said, 0),
  labels = coalesce(f.labels, '{}')
FROM unnest(%s::bytea[]) AS touched (trace_id) LEFT JOIN (
  SELECT trace_id, sum(score) AS score_sum, count(score) AS scores, count(*) AS said,
         array_agg(DISTINCT label) FILTER (WHERE label <> '') AS labels
  FROM tracing.feedback WHERE tenant = %s GROUP BY trace_id
) f USING (trace_id)
WHERE t.trace_id = touched.trace_id AND t.tenant = %s
"""


async def erase_some(connection: Connection, tenant: str, user: str, limit: int) -> int:
    """Delete at most `limit` traces; returns how many it was."""
    rows = await _all(connection, _TRACES, tenant, user, user, limit)
    if rows:
        traces, days = [row[0] for row in rows], sorted({row[1] for row in rows})
        for part in ("day_spans", "day_contents", "day_sealed", "day_texts", "topic_vectors"):
            await connection.execute(_PARTS.format(part), (traces, days, tenant))
        await connection.execute(
            "DELETE FROM tracing.feedback WHERE trace_id = ANY(%s) AND tenant = %s", (traces, tenant)
        )
    return len(rows)


async def erase_said(connection: Connection, tenant: str, user: str) -> int:
    """Delete what a user said of traces that stay, and count those again; returns how many entries it was."""
    touched = [row[0] for row in await _all(connection, _SAID, tenant, user, user)]
    if touched:
        await connection.execute(_COUNTED_AGAIN, (list(set(touched)), tenant, tenant))
    return len(touched)


async def _all(connection: Connection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, values)).fetchall()
