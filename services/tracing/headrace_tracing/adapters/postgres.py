"""The trace store in PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from uuid import UUID

import psycopg

from headrace_kit.errors import NotReady
from headrace_kit.stores.postgres import Postgres
from headrace_tracing.adapters.analysis import sessions, sums
from headrace_tracing.adapters.conditions import conditions, where
from headrace_tracing.adapters.erasing import erase_said, erase_some
from headrace_tracing.adapters.rows import (
    FEEDBACK,
    SPAN,
    SUMMARY,
    feedback_of,
    measured_of,
    session_of,
    span_of,
    summary_of,
)
from headrace_tracing.adapters.thinning import settle
from headrace_tracing.adapters.writing import Moved, write
from headrace_tracing.domain.filters import TraceFilter
from headrace_tracing.domain.measures import Measured, Session
from headrace_tracing.domain.spans import Feedback, Span, Summary
from headrace_tracing.ports import Position, Settled, StoreRefused

DAY_S = 86_400
_TRIES = 6
_NEWEST_FIRST = "ORDER BY t.start_ns DESC, t.trace_id DESC, t.tenant DESC"
_PARTS = ("day_spans", "day_contents", "day_sealed", "day_texts")
_CHUNK = 2000
_SPANS = f"""
SELECT {", ".join(f"s.{name}" for name in SPAN.split(", "))}, c.body, e.body FROM tracing.day_spans s
LEFT JOIN tracing.day_contents c USING (trace_id, span_id, tenant, day)
LEFT JOIN tracing.day_sealed e USING (trace_id, span_id, tenant, day)
WHERE s.trace_id = %s AND s.day = %s AND (%s::text IS NULL OR s.tenant IN (%s, ''))
ORDER BY s.start_ns, s.span_id LIMIT %s
"""  # noqa: S608  (constants only)
_DELETE_TRACES = """
WITH old AS (
  SELECT trace_id, tenant FROM tracing.traces WHERE day < %s LIMIT %s FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM tracing.traces t USING old WHERE t.trace_id = old.trace_id AND t.tenant = old.tenant
  RETURNING t.trace_id, t.tenant
), gone_feedback AS (
  DELETE FROM tracing.feedback f USING gone WHERE f.trace_id = gone.trace_id AND f.tenant = gone.tenant
)
SELECT count(*) FROM gone
"""
_DAYS = """
SELECT split_part(inhrelid::regclass::text, '_', -1)::integer FROM pg_inherits
WHERE inhparent = %s::regclass ORDER BY 1
"""


class PostgresTraceStore:
    """`TraceStore` on the schema `tracing`."""

    def __init__(self, postgres: Postgres, now_s: Callable[[], float] = time.time) -> None:
        self._postgres = postgres
        self._now_s = now_s
        self._made: set[int] = set()

    async def write(self, spans: Sequence[Span]) -> int:
        """See `TraceStore`."""
        # In one order everywhere, so that two writers never wait for each other crosswise.
        by_id = {(span.trace_id, span.span_id, span.tenant): span for span in reversed(spans)}
        unique = [by_id[key] for key in sorted(by_id)]
        fresh, patient = True, False
        for _ in range(_TRIES):
            today = int(self._now_s()) // DAY_S
            try:
                await self._day(today)
                async with self._postgres.transaction() as connection:
                    return await write(connection, unique, today, fresh=fresh, patient=patient)
            except psycopg.errors.UniqueViolation:
                fresh = False  # some of it is there already: a sender came again
            except Moved:
                patient = True  # another writer was first with a trace, or its spans were thinned
            except NotReady as error:
                if not isinstance(error.__cause__, psycopg.errors.DeadlockDetected):
                    raise
            except psycopg.errors.CheckViolation as error:
                if today not in self._made:
                    raise StoreRefused(type(error).__name__) from error
                self._made.discard(today)  # somebody dropped the day
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                raise StoreRefused(type(error).__name__) from error
        raise StoreRefused("the batch found other writers in its way too often")

    async def _day(self, day: int) -> None:
        if day not in self._made:
            for wanted in (day, day + 1):
                await self._postgres.fetch("SELECT tracing.make_day(%s)", wanted)
                self._made.add(wanted)

    async def summaries(self, trace_id: str) -> list[Summary]:
        """See `TraceStore`."""
        rows = await self._postgres.fetch(
            f"SELECT {SUMMARY} FROM tracing.traces WHERE trace_id = %s",  # noqa: S608
            bytes.fromhex(trace_id),
        )
        return [summary_of(row) for row in rows]

    async def spans(self, trace_id: str, tenant: str | None, limit: int) -> list[Span]:
        """See `TraceStore`."""
        at = bytes.fromhex(trace_id)
        days = [row[0] for row in await self._postgres.fetch(
            "SELECT DISTINCT day FROM tracing.traces WHERE trace_id = %s", at
        )]  # fmt: skip
        # Nearly always one day; asked by equality, the planner opens that day's three tables and no others.
        found: list[Span] = []
        for day in days:
            found += [span_of(row) for row in await self._postgres.fetch(_SPANS, at, day, tenant, tenant, limit)]
        return sorted(found, key=lambda span: (span.start_ns, span.span_id))[:limit] if len(days) > 1 else found

    async def traces(self, wanted: TraceFilter, limit: int, after: Position | None = None) -> list[Summary]:
        """See `TraceStore`."""
        found, values = conditions(wanted)
        if after is not None:
            found.append("(t.start_ns, t.trace_id, t.tenant) < (%s, %s, %s)")
            values += [after.start_ns, bytes.fromhex(after.trace_id), after.tenant]
        rows = await self._postgres.fetch(
            f"SELECT {SUMMARY} FROM tracing.traces t {where(found)} {_NEWEST_FIRST} LIMIT %s",  # noqa: S608
            *values,
            limit,
        )
        return [summary_of(row) for row in rows]

    async def sessions(self, wanted: TraceFilter, limit: int, after: Position | None = None) -> list[Session]:
        """See `TraceStore`."""
        query, values = sessions(wanted, limit, after)
        return [session_of(row) for row in await self._postgres.fetch(query, *values)]

    async def measure(
        self, wanted: TraceFilter, group_by: Sequence[str] = (), bucket_s: int = 0, limit: int = 1
    ) -> list[Measured]:
        """See `TraceStore`."""
        query, values = sums(wanted, group_by, bucket_s, limit)
        return [measured_of(row, group_by) for row in await self._postgres.fetch(query, *values)]

    async def feedback(self, trace_id: str) -> list[Feedback]:
        """See `TraceStore`."""
        rows = await self._postgres.fetch(
            f"SELECT {FEEDBACK} FROM tracing.feedback WHERE trace_id = %s ORDER BY created_ns, id",  # noqa: S608
            bytes.fromhex(trace_id),
        )
        return [feedback_of(row) for row in rows]

    async def add_feedback(self, feedback: Feedback) -> bool:
        """See `TraceStore`."""
        trace = bytes.fromhex(feedback.trace_id)
        async with self._postgres.transaction() as connection:
            stored = await connection.execute(
                f"INSERT INTO tracing.feedback ({FEEDBACK}) VALUES ({', '.join(['%s'] * 12)}) ON CONFLICT DO NOTHING",  # noqa: S608
                (
                    UUID(feedback.id), trace, feedback.tenant, bytes.fromhex(feedback.span_id), feedback.score,
                    feedback.label, feedback.comment, feedback.created_ns, feedback.key_id, feedback.user,
                    feedback.correction, feedback.source,
                ),
            )  # fmt: skip
            if not stored.rowcount:
                return False
            await connection.execute(
                "UPDATE tracing.traces SET score_sum = score_sum + %s, scores = scores + %s, said = said + 1, "
                "labels = CASE WHEN %s = '' OR %s = ANY(labels) THEN labels ELSE labels || %s::text END "
                "WHERE trace_id = %s AND tenant = %s",
                (
                    feedback.score or 0.0, int(feedback.score is not None), feedback.label, feedback.label,
                    feedback.label, trace, feedback.tenant,
                ),
            )  # fmt: skip
            return True

    async def save(self, trace_id: str, tenant: str | None) -> None:
        """See `TraceStore`."""
        async with self._postgres.transaction() as connection:
            await connection.execute(
                "UPDATE tracing.traces SET saved = true "
                "WHERE trace_id = %s AND (%s::text IS NULL OR tenant IN (%s, '')) AND NOT saved",
                (bytes.fromhex(trace_id), tenant, tenant),
            )

    async def settle(self, outcome: Callable[[Sequence[Summary]], str], quiet_s: float, limit: int) -> Settled:
        """See `TraceStore`."""
        async with self._postgres.transaction() as connection:
            return await settle(connection, outcome, quiet_s, limit)

    async def erase(self, tenant: str, user: str) -> tuple[int, int]:
        """See `TraceStore`."""
        traces = 0
        while True:
            async with self._postgres.transaction() as connection:
                gone = await erase_some(connection, tenant, user, _CHUNK)
            traces += gone
            if gone < _CHUNK:
                break
        async with self._postgres.transaction() as connection:
            if not user:
                for table in ("profiles", "topic_profiles", "topic_vectors"):
                    await connection.execute(f"DELETE FROM tracing.{table} WHERE tenant = %s", (tenant,))  # noqa: S608
            return traces, await erase_said(connection, tenant, user)

    async def drop_days_before(self, day: int, *, sealed_before: int) -> int:
        """See `TraceStore`."""
        for part in _PARTS:
            before = max(day, sealed_before) if part == "day_sealed" else day
            for row in await self._postgres.fetch(_DAYS, f"tracing.{part}"):
                if row[0] < before:
                    await self._postgres.fetch("SELECT tracing.drop_day(%s, %s)", row[0], [part])
                    self._made.discard(row[0])
        async with self._postgres.transaction() as connection:
            await connection.execute("DELETE FROM tracing.topic_vectors WHERE day < %s", (day,))
        return int((await self._postgres.fetch(_DELETE_TRACES, day, _CHUNK))[0][0])
