"""Questions by who asked them, in PostgreSQL."""

from __future__ import annotations

from headrace_kit.stores.postgres import Postgres
from headrace_tracing.domain.asks import Ask
from headrace_tracing.domain.spans import STATUSES

_MOST = 100_000
"""Requests of one look. Of people who asked even more, some are not looked at."""

_ASKS = """
WITH asked AS (
  SELECT tenant, user_digest, CASE WHEN user_digest = '' THEN session ELSE '' END AS talk, session, trace_id, start_ns,
         end_ns, question, status, last_seen > to_timestamp(%s) AS new
  FROM tracing.traces
  WHERE start_ns >= %s AND tenant <> '' AND question <> '' AND (user_digest <> '' OR session <> '')
)
SELECT tenant, user_digest, session, trace_id, start_ns, end_ns, question, status, new FROM (
  SELECT *, count(*) OVER of_one AS times, bool_or(new) OVER of_one AS touched FROM asked
  WINDOW of_one AS (PARTITION BY tenant, user_digest, talk)
) whose
WHERE times > 1 AND touched ORDER BY tenant, user_digest, talk, start_ns, trace_id LIMIT %s
"""


class PostgresAskStore:
    """`AskStore` on the schema `tracing`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def asks(self, from_ns: int, since_s: float) -> list[Ask]:
        """See `AskStore`."""
        return [
            Ask(tenant, user, session, trace_id.hex(), start_ns, end_ns, question, STATUSES[status] != "error", new)
            for tenant, user, session, trace_id, start_ns, end_ns, question, status, new in await self._postgres.fetch(
                _ASKS, since_s, from_ns, _MOST
            )
        ]
