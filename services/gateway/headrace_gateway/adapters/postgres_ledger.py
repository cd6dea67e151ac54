"""The ledger in PostgreSQL: written from events, read for usage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg

from headrace_gateway.ledger.holding import LedgerRow
from headrace_gateway.ledger.usage import Group, UsageQuery, UsageRow
from headrace_kit.errors import NotReady
from headrace_kit.events import advance
from headrace_kit.stores.postgres import Postgres
from headrace_protos.common.v1.event_pb2 import RequestEvent

_COLUMNS = {
    "request_id": "uuid", "stage": "smallint", "attempt": "smallint", "state": "text", "tenant": "text",
    "key_id": "text", "unit": "text", "model": "text", "deployment": "text", "rollout_id": "text", "arm": "text",
    "shadow": "boolean", "config_hash": "text", "trace_id": "text", "operation": "text", "started_at": "timestamptz",
    "started_us": "bigint", "first_token_us": "bigint", "ended_us": "bigint", "input_tokens": "bigint",
    "cached_input_tokens": "bigint", "output_tokens": "bigint", "reasoning_tokens": "bigint",
    "reserved_output_tokens": "bigint", "cost_nano_usd": "bigint", "cache": "text", "finish_reason": "text",
    "error_code": "text", "verdict": "text", "confidence": "double precision", "guard_findings": "text[]",
    "cache_write_input_tokens": "bigint", "price_version": "text", "saved_nano_usd": "bigint",
    "budget_day": "integer", "budget_holder": "text", "track": "text",
}  # fmt: skip
_NOT_THERE_YET = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName)
_KEY = {"request_id", "stage", "attempt"}
# All rows as one parameter: a statement for each row costs this process many times as much.
_INSERT = (
    f"INSERT INTO gateway.ledger ({', '.join(_COLUMNS)}) "  # noqa: S608
    f"SELECT {', '.join(_COLUMNS)} FROM json_to_recordset(%s::json) "
    f"AS told ({', '.join(f'{name} {kind}' for name, kind in _COLUMNS.items())}) "
    "ON CONFLICT (request_id, stage, attempt) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEY)
    + " WHERE ledger.state = 'open' AND excluded.state = 'closed'"
)
_encode = msgspec.json.Encoder().encode
_GROUPS = {
    Group.DAY: "to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    Group.HOUR: "to_char(date_trunc('hour', started_at AT TIME ZONE 'UTC'), 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
    Group.TENANT: "tenant",
    Group.MODEL: "model",
    Group.DEPLOYMENT: "deployment",
    Group.ARM: "arm",
    Group.TRACK: "track",
    Group.KEY: "key_id",
    Group.OPERATION: "operation",
}


class PostgresLedger:
    """Fulfils `LedgerStore`."""

    def __init__(self, store: Postgres) -> None:
        self._store = store

    async def write(self, rows: Sequence[RequestEvent], positions: dict[str, list[int]]) -> None:
        """See `LedgerStore`."""
        try:
            async with self._store.transaction() as connection:
                # Always in one order, so that two writers cannot wait for each other.
                ordered = sorted(rows, key=lambda event: (event.request_id, event.stage, event.attempt))
                async with connection.cursor() as cursor:
                    if ordered:
                        await cursor.execute(_INSERT, (_encode([_row(event) for event in ordered]).decode(),))
                    for log_id in sorted(positions):
                        await self._note(cursor, log_id, positions[log_id])
        except _NOT_THERE_YET as error:
            raise NotReady("the ledger's tables are not there yet", retry_after_s=1) from error

    async def _note(self, cursor: psycopg.AsyncCursor[Any], log_id: str, positions: list[int]) -> None:
        await cursor.execute(
            # Makes the row where there is none, and in whatever case locks it.
            "INSERT INTO gateway.log_progress AS known (log_id) VALUES (%s) "
            "ON CONFLICT (log_id) DO UPDATE SET sequence = known.sequence RETURNING sequence, ahead",
            (log_id,),
        )
        row = await cursor.fetchone()
        assert row is not None
        reached, ahead = advance(row[0], row[1], positions)
        await cursor.execute(
            "UPDATE gateway.log_progress SET sequence = %s, ahead = %s, updated_at = now() WHERE log_id = %s",
            (reached, ahead, log_id),
        )

    async def progress(self, log_ids: list[str]) -> dict[str, int]:
        """The position up to which everything of each log is written. Raises NotReady."""
        try:
            rows = await self._store.fetch(
                "SELECT log_id, sequence FROM gateway.log_progress WHERE log_id = ANY(%s::uuid[])", log_ids
            )
        except _NOT_THERE_YET as error:
            raise NotReady("the ledger's tables are not there yet", retry_after_s=1) from error
        return {str(log_id): sequence for log_id, sequence in rows}

    async def usage(self, query: UsageQuery) -> list[UsageRow]:
        """Sums by group, in the groups' order. Raises NotReady."""
        names = [_GROUPS[group] for group in query.groups]
        conditions = ["started_at >= %s", "started_at < %s", "NOT shadow"]
        values: list[Any] = [query.start, query.end]
        if query.tenant is not None:
            conditions.append("tenant = %s")
            values.append(query.tenant)
        grouping = f"GROUP BY {', '.join(str(place + 1) for place in range(len(names)))}" if names else ""
        rows = await self._store.fetch(
            f"SELECT {''.join(name + ', ' for name in names)}"  # noqa: S608
            "count(DISTINCT request_id), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), "
            "coalesce(sum(cost_nano_usd), 0), coalesce(sum(cost_nano_usd) "
            "FILTER (WHERE verdict IN ('rejected', 'judged', 'lost', 'helped')), 0), "
            "count(DISTINCT request_id) FILTER (WHERE cache = 'hit'), coalesce(sum(saved_nano_usd), 0) "
            f"FROM gateway.ledger WHERE {' AND '.join(conditions)} {grouping} "
            f"{grouping.replace('GROUP BY', 'ORDER BY')} LIMIT 10000",
            *values,
        )
        return [UsageRow(tuple(row[: len(names)]), *map(int, row[len(names) :])) for row in rows]

    async def attempts(self, query: UsageQuery, limit: int) -> list[LedgerRow]:
        """The newest attempts of a time, copies of requests included. Raises NotReady."""
        conditions = ["started_at >= %s", "started_at < %s"]
        values: list[Any] = [query.start, query.end]
        if query.tenant is not None:
            conditions.append("tenant = %s")
            values.append(query.tenant)
        rows = await self._store.fetch(
            "SELECT request_id::text, stage, attempt, trace_id, tenant, deployment, state = 'open', input_tokens, "  # noqa: S608
            "cached_input_tokens, cache_write_input_tokens, output_tokens, cost_nano_usd, price_version, error_code "
            f"FROM gateway.ledger WHERE {' AND '.join(conditions)} ORDER BY started_at DESC LIMIT %s",
            *values,
            limit,
        )
        return [LedgerRow(*row) for row in rows]


def _row(event: RequestEvent) -> dict[str, Any]:
    closed = event.kind == RequestEvent.KIND_CLOSED
    usage, time = event.usage, event.time
    micros = time.seconds * 1_000_000 + time.nanos // 1000
    if closed:
        micros -= event.ended_us - event.started_us
    return {
        "request_id": event.request_id,
        "stage": event.stage,
        "attempt": event.attempt,
        "state": "closed" if closed else "open",
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
        "started_at": datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000),
        "started_us": event.started_us,
        "first_token_us": event.first_token_us,
        "ended_us": event.ended_us,
        "input_tokens": usage.input_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "reserved_output_tokens": event.reserved_output_tokens,
        "cost_nano_usd": event.cost_nano_usd,
        "cache": event.cache,
        "finish_reason": event.finish_reason,
        "error_code": event.error_code,
        "verdict": event.verdict,
        "confidence": event.confidence if event.HasField("confidence") else None,
        "guard_findings": list(event.guard_findings),
        "cache_write_input_tokens": usage.cache_write_input_tokens,
        "price_version": event.price_version,
        "saved_nano_usd": event.saved_nano_usd,
        "budget_day": event.budget_day,
        "budget_holder": event.budget_holder,
        "track": event.track,
    }
