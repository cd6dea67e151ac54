"""The ledger's table in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC as _UTC
from datetime import timedelta as _timedelta
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from headrace_gateway.ledger.ports import Fetch, UsageQuery
from headrace_gateway.ledger.progress import advance
from headrace_kit.stores.postgres import Postgres
from headrace_protos.common.v1.event_pb2 import RequestEvent

_LOCK = 0x6C656467
_GROUPS = {
    "day": sql.SQL("to_char(opened_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"),
    "tenant": sql.SQL("tenant"),
    "key": sql.SQL("key_id"),
    "model": sql.SQL("model"),
    "deployment": sql.SQL("deployment"),
    "arm": sql.SQL("arm"),
    "operation": sql.SQL("operation"),
}
_KEY = ("request_id", "stage", "attempt")
_OPEN = (
    "tenant", "key_id", "unit", "model", "deployment", "rollout_id", "arm", "shadow", "config_hash", "trace_id",
    "operation", "reserved_output_tokens", "opened_at",
)  # fmt: skip
_CLOSE = (
    "closed_at", "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "cost_nano_usd", "cache",
    "finish_reason", "error_code", "verdict", "confidence", "first_token_us", "duration_us", "guard_findings",
)  # fmt: skip
_INSERT = "INSERT INTO ledger ({columns}) VALUES ({values}) ON CONFLICT (request_id, stage, attempt) DO "
_OPENED = sql.SQL(_INSERT + "NOTHING").format(
    columns=sql.SQL(", ").join(map(sql.Identifier, _KEY + _OPEN)),
    values=sql.SQL(", ").join(map(sql.Placeholder, _KEY + _OPEN)),
)
_CLOSED = sql.SQL(_INSERT + "UPDATE SET {changes} WHERE ledger.closed_at IS NULL").format(
    columns=sql.SQL(", ").join(map(sql.Identifier, _KEY + _OPEN + _CLOSE)),
    values=sql.SQL(", ").join(map(sql.Placeholder, _KEY + _OPEN + _CLOSE)),
    changes=sql.SQL(", ").join(
        sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(column)) for column in ("arm", "deployment", *_CLOSE)
    ),
)


class PostgresLedger:
    """`LedgerStore` on the tables `ledger`, `ledger_progress` and `ledger_position`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def write(self, fetch: Fetch) -> int:
        """See `LedgerStore`. The stream's position is stored with the rows, so a batch is written once."""
        async with self._postgres.transaction() as connection:
            locked = await (await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,))).fetchone()
            if locked is None or not locked[0]:
                return 0
            row = await (await connection.execute("SELECT position FROM ledger_position")).fetchone()
            position, events = await fetch(row[0] if row else "")
            if not events:
                return 0
            cursor = connection.cursor()
            for kind, statement in ((RequestEvent.KIND_OPENED, _OPENED), (RequestEvent.KIND_CLOSED, _CLOSED)):
                rows = [_row(event) for event in events if event.kind == kind]
                if rows:
                    await cursor.executemany(statement, rows)
            logs = list({event.log_id for event in events})
            found = await connection.execute(
                "SELECT log_id, sequence FROM ledger_progress WHERE log_id = ANY(%s)", (logs,)
            )
            known: dict[str, int] = dict(await found.fetchall())
            await cursor.executemany(
                "INSERT INTO ledger_progress (log_id, sequence) VALUES (%s, %s)"
                " ON CONFLICT (log_id) DO UPDATE SET sequence = EXCLUDED.sequence, updated_at = now()",
                list(advance(known, events).items()),
            )
            await connection.execute(
                "INSERT INTO ledger_position (one, position) VALUES (true, %s)"
                " ON CONFLICT (one) DO UPDATE SET position = EXCLUDED.position",
                (position,),
            )
            return len(events)

    async def confirmed(self, log_id: str) -> int:
        """See `LedgerStore`."""
        rows = await self._postgres.fetch("SELECT sequence FROM ledger_progress WHERE log_id = %s", log_id)
        return int(rows[0][0]) if rows else 0

    async def usage(self, query: UsageQuery) -> list[Mapping[str, Any]]:
        """See `LedgerStore`. Shadow traffic is nobody's usage."""
        groups = [sql.SQL("{} AS {}").format(_GROUPS[name], sql.Identifier(name)) for name in query.group_by]
        numbers = [sql.SQL(str(place + 1)) for place in range(len(groups))]
        statement = sql.SQL(
            "SELECT {columns} FROM ledger WHERE NOT shadow AND closed_at IS NOT NULL"
            " AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)"
            " AND (%(start)s::timestamptz IS NULL OR opened_at >= %(start)s)"
            " AND (%(end)s::timestamptz IS NULL OR opened_at < %(end)s) {grouping}"
        ).format(
            columns=sql.SQL(", ").join(
                [
                    *groups,
                    sql.SQL("count(DISTINCT request_id) AS requests"),
                    sql.SQL("coalesce(sum(input_tokens), 0)::bigint AS input_tokens"),
                    sql.SQL("coalesce(sum(output_tokens), 0)::bigint AS output_tokens"),
                    sql.SQL("coalesce(sum(cost_nano_usd), 0)::bigint AS cost_nano_usd"),
                ]
            ),
            grouping=sql.SQL("GROUP BY {0} ORDER BY {0}").format(sql.SQL(", ").join(numbers))
            if groups
            else sql.SQL(""),
        )
        async with self._postgres.transaction() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(statement, {"tenant": query.tenant, "start": query.start, "end": query.end})
            return list(await cursor.fetchall())


def _row(event: RequestEvent) -> dict[str, Any]:
    """All columns of an event. `opened_at` of a closed event is when its attempt began."""
    closed = event.kind == RequestEvent.KIND_CLOSED
    time = event.time.ToDatetime(tzinfo=_UTC)
    duration_us = max(0, event.ended_us - event.started_us)
    return {
        "request_id": event.request_id,
        "stage": event.stage,
        "attempt": event.attempt,
        "tenant": event.tenant,
        "key_id": event.key_id,
        "unit": event.unit,
        "model": event.model,
        "deployment": event.deployment,
        "rollout_id": event.rollout_id,
        "arm": event.arm,
        "shadow": event.shadow,
        "config_hash": event.config_hash,
        "trace_id": event.trace_id,
        "operation": event.operation,
        "reserved_output_tokens": event.reserved_output_tokens,
        "opened_at": time - _timedelta(microseconds=duration_us) if closed else time,
        "closed_at": time,
        "input_tokens": event.usage.input_tokens,
        "cached_input_tokens": event.usage.cached_input_tokens,
        "output_tokens": event.usage.output_tokens,
        "reasoning_tokens": event.usage.reasoning_tokens,
        "cost_nano_usd": event.cost_nano_usd,
        "cache": event.cache,
        "finish_reason": event.finish_reason,
        "error_code": event.error_code,
        "verdict": event.verdict,
        "confidence": event.confidence if event.HasField("confidence") else None,
        "first_token_us": event.first_token_us,
        "duration_us": duration_us,
        "guard_findings": list(event.guard_findings),
    }
