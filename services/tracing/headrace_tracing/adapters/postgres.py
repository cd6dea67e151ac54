"""The trace store in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from headrace_kit.stores.postgres import Connection, Postgres
from headrace_tracing.domain.spans import KINDS, STATUSES, Feedback, Span, SpanEvent, Summary, Usage
from headrace_tracing.domain.summaries import summarise
from headrace_tracing.ports import StoreRefused, TraceFilter

_SPANS = (
    "trace_id, span_id, parent_span_id, tenant, service, name, kind, start_ns, end_ns, status, status_message, "
    "attributes, events"
)
_INSERT_SPANS = f"""
INSERT INTO tracing.spans ({_SPANS})
SELECT trace_id, span_id, parent_span_id, tenant, service, name, kind, start_ns, end_ns, status, status_message,
       attributes::jsonb, events::jsonb
FROM unnest(%s::bytea[], %s::bytea[], %s::bytea[], %s::text[], %s::text[], %s::text[], %s::smallint[], %s::bigint[],
            %s::bigint[], %s::smallint[], %s::text[], %s::text[], %s::text[])
  AS sent ({_SPANS})
ON CONFLICT (trace_id, span_id) DO NOTHING
RETURNING trace_id, span_id
"""  # noqa: S608  (constants only)

_SUMMARY = (
    "trace_id, tenant, name, status, start_ns, end_ns, spans, input_tokens, output_tokens, cost_nano_usd, model, "
    "model_at_ns"
)
# The same as `summaries.merge`, done by the database so that two writers never lose each other's sums.
_UPSERT_TRACES = f"""
INSERT INTO tracing.traces AS kept ({_SUMMARY})
SELECT * FROM unnest(%s::bytea[], %s::text[], %s::text[], %s::smallint[], %s::bigint[], %s::bigint[], %s::integer[],
                     %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[])
ON CONFLICT (trace_id, tenant) DO UPDATE SET
  name = CASE WHEN excluded.start_ns < kept.start_ns THEN excluded.name ELSE kept.name END,
  status = CASE WHEN excluded.start_ns < kept.start_ns THEN excluded.status ELSE kept.status END,
  start_ns = least(kept.start_ns, excluded.start_ns),
  end_ns = greatest(kept.end_ns, excluded.end_ns),
  spans = kept.spans + excluded.spans,
  input_tokens = kept.input_tokens + excluded.input_tokens,
  output_tokens = kept.output_tokens + excluded.output_tokens,
  cost_nano_usd = kept.cost_nano_usd + excluded.cost_nano_usd,
  model = CASE WHEN kept.model_at_ns IS NULL OR excluded.model_at_ns < kept.model_at_ns
               THEN excluded.model ELSE kept.model END,
  model_at_ns = least(kept.model_at_ns, excluded.model_at_ns),
  last_seen = now()
"""  # noqa: S608

# Spans without a tenant, where the same trace has some with, are a part of that trace and no trace of their own.
_NOT_A_PART = (
    "(tenant <> '' OR NOT EXISTS (SELECT 1 FROM tracing.traces o WHERE o.trace_id = t.trace_id AND o.tenant <> ''))"
)
_NEWEST_FIRST = "ORDER BY start_ns DESC, trace_id DESC, tenant DESC"
_FEEDBACK = "id, trace_id, tenant, span_id, score, label, comment, created_ns, key_id, user_name"
_DELETE_OLD = """
WITH old AS (
  SELECT trace_id, tenant FROM tracing.traces WHERE last_seen < now() - make_interval(secs => %s)
  ORDER BY last_seen LIMIT %s FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM tracing.traces t USING old WHERE t.trace_id = old.trace_id AND t.tenant = old.tenant
  RETURNING t.trace_id, t.tenant
), gone_spans AS (
  DELETE FROM tracing.spans s USING gone WHERE s.trace_id = gone.trace_id AND s.tenant = gone.tenant
), gone_feedback AS (
  DELETE FROM tracing.feedback f USING gone WHERE f.trace_id = gone.trace_id AND f.tenant = gone.tenant
)
SELECT count(*) FROM gone
"""
_json = msgspec.json.Encoder()


class PostgresTraceStore:
    """`TraceStore` on the schema `tracing`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def write(self, spans: Sequence[Span]) -> int:
        """See `TraceStore`."""
        # In one order everywhere, so that two writers never wait for each other crosswise.
        by_id = {(span.trace_id, span.span_id): span for span in reversed(spans)}
        unique = [by_id[key] for key in sorted(by_id)]
        try:
            async with self._postgres.transaction() as connection:
                return await _write(connection, unique)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise StoreRefused(type(error).__name__) from error

    async def summaries(self, trace_id: str) -> list[Summary]:
        """See `TraceStore`."""
        rows = await self._postgres.fetch(
            f"SELECT {_SUMMARY} FROM tracing.traces WHERE trace_id = %s",  # noqa: S608
            bytes.fromhex(trace_id),
        )
        return [_summary(row) for row in rows]

    async def spans(self, trace_id: str, tenant: str | None, limit: int) -> list[Span]:
        """See `TraceStore`."""
        rows = await self._postgres.fetch(
            f"SELECT {_SPANS} FROM tracing.spans WHERE trace_id = %s AND (%s::text IS NULL OR tenant IN (%s, '')) "  # noqa: S608
            "ORDER BY start_ns, span_id LIMIT %s",
            bytes.fromhex(trace_id),
            tenant,
            tenant,
            limit,
        )
        return [_span(row) for row in rows]

    async def traces(self, wanted: TraceFilter) -> list[Summary]:
        """See `TraceStore`."""
        where: list[tuple[str, Any]] = []
        if wanted.tenant is not None:
            where.append(("tenant = %s", wanted.tenant))
        else:
            where.append((_NOT_A_PART, ()))
        if wanted.from_ns is not None:
            where.append(("start_ns >= %s", wanted.from_ns))
        if wanted.to_ns is not None:
            where.append(("start_ns < %s", wanted.to_ns))
        if wanted.model:
            where.append(("model = %s", wanted.model))
        if wanted.status:
            where.append(("status = %s", STATUSES.index(wanted.status)))
        if wanted.after is not None:
            after = (wanted.after.start_ns, bytes.fromhex(wanted.after.trace_id), wanted.after.tenant)
            where.append(("(start_ns, trace_id, tenant) < (%s, %s, %s)", after))
        parameters: list[Any] = []
        for _, value in where:
            parameters += value if isinstance(value, tuple) else [value]
        conditions = "WHERE " + " AND ".join(condition for condition, _ in where) if where else ""
        rows = await self._postgres.fetch(
            f"SELECT {_SUMMARY} FROM tracing.traces t {conditions} {_NEWEST_FIRST} LIMIT %s",  # noqa: S608
            *parameters,
            wanted.limit,
        )
        return [_summary(row) for row in rows]

    async def feedback(self, trace_id: str) -> list[Feedback]:
        """See `TraceStore`."""
        rows = await self._postgres.fetch(
            f"SELECT {_FEEDBACK} FROM tracing.feedback WHERE trace_id = %s ORDER BY created_ns, id",  # noqa: S608
            bytes.fromhex(trace_id),
        )
        return [
            Feedback(str(id_), trace.hex(), tenant, span.hex(), score, label, comment, created_ns, key_id, user)
            for id_, trace, tenant, span, score, label, comment, created_ns, key_id, user in rows
        ]

    async def add_feedback(self, feedback: Feedback) -> None:
        """See `TraceStore`."""
        await self._postgres.fetch(
            f"INSERT INTO tracing.feedback ({_FEEDBACK}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",  # noqa: S608
            UUID(feedback.id),
            bytes.fromhex(feedback.trace_id),
            feedback.tenant,
            bytes.fromhex(feedback.span_id),
            feedback.score,
            feedback.label,
            feedback.comment,
            feedback.created_ns,
            feedback.key_id,
            feedback.user,
        )

    async def delete_older_than(self, age_s: float, limit: int) -> int:
        """See `TraceStore`."""
        return int((await self._postgres.fetch(_DELETE_OLD, age_s, limit))[0][0])


async def _write(connection: Connection, spans: Sequence[Span]) -> int:
    cursor = await connection.execute(_INSERT_SPANS, _columns(spans, _SPAN_VALUES))
    new = {(trace.hex(), span.hex()) for trace, span in await cursor.fetchall()}
    if new:
        summaries = summarise(span for span in spans if (span.trace_id, span.span_id) in new)
        await connection.execute(_UPSERT_TRACES, _columns(summaries, _SUMMARY_VALUES))
    return len(new)


_SPAN_VALUES: tuple[Callable[[Span], Any], ...] = (
    lambda span: bytes.fromhex(span.trace_id),
    lambda span: bytes.fromhex(span.span_id),
    lambda span: bytes.fromhex(span.parent_span_id),
    lambda span: span.tenant,
    lambda span: span.service,
    lambda span: span.name,
    lambda span: KINDS.index(span.kind),
    lambda span: span.start_ns,
    lambda span: span.end_ns,
    lambda span: STATUSES.index(span.status),
    lambda span: span.status_message,
    lambda span: _json.encode(span.attributes).decode(),
    lambda span: (
        _json.encode([(event.name, event.time_ns, event.attributes) for event in span.events]).decode()
        if span.events
        else "[]"
    ),
)
_SUMMARY_VALUES: tuple[Callable[[Summary], Any], ...] = (
    lambda summary: bytes.fromhex(summary.trace_id),
    lambda summary: summary.tenant,
    lambda summary: summary.name,
    lambda summary: STATUSES.index(summary.status),
    lambda summary: summary.start_ns,
    lambda summary: summary.end_ns,
    lambda summary: summary.spans,
    lambda summary: summary.usage.input_tokens,
    lambda summary: summary.usage.output_tokens,
    lambda summary: summary.usage.cost_nano_usd,
    lambda summary: summary.model,
    lambda summary: summary.model_at_ns,
)


def _columns(items: Sequence[Any], values: Sequence[Callable[[Any], Any]]) -> list[list[Any]]:
    return [[value(item) for item in items] for value in values]


def _span(row: Sequence[Any]) -> Span:
    trace_id, span_id, parent, tenant, service, name, kind, start_ns, end_ns, status, message, attributes, events = row
    return Span(
        trace_id=trace_id.hex(),
        span_id=span_id.hex(),
        parent_span_id=parent.hex(),
        tenant=tenant,
        service=service,
        name=name,
        kind=KINDS[kind],
        start_ns=start_ns,
        end_ns=end_ns,
        status=STATUSES[status],
        status_message=message,
        attributes=attributes,
        events=tuple(SpanEvent(name, time_ns, attributes) for name, time_ns, attributes in events),
    )


def _summary(row: Sequence[Any]) -> Summary:
    trace_id, tenant, name, status, start_ns, end_ns, spans, tokens_in, tokens_out, cost, model, model_at_ns = row
    return Summary(
        trace_id.hex(),
        tenant,
        name,
        STATUSES[status],
        start_ns,
        end_ns,
        spans,
        Usage(tokens_in, tokens_out, cost),
        model,
        model_at_ns,
    )
