"""Sums over traces in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace_tracing.adapters.conditions import COST, INPUT, OUTPUT, conditions, where
from headrace_tracing.domain.filters import TraceFilter
from headrace_tracing.domain.spans import STATUSES
from headrace_tracing.ports import Position

_ERROR = STATUSES.index("error")
_COLUMNS = {
    **{
        name: f"t.{name}"
        for name in (
            "tenant", "model", "deployment", "arm", "operation", "cache", "error", "provider", "config_hash",
            "rollout", "key_id", "session", "name",
        )
    },
    "user": "t.user_digest",
    "status": f"CASE t.status WHEN {_ERROR} THEN 'error' ELSE 'ok' END",
}  # fmt: skip
_MS = "(t.end_ns - t.start_ns) / 1e6"
_TTFT = "NULLIF(t.ttft_us, 0) / 1e3"
_TPOT = f"greatest({_MS} - {_TTFT}, 0) / NULLIF(greatest({OUTPUT} - 1, 0), 0)"
_FEW = "0.001"  # a millisecond's thousandth: there is no logarithm of 0


def _times(name: str) -> str:
    log = f"ln(greatest({name}, {_FEW}))"
    return (
        f"percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY {name}), count({name}), "
        f"avg({log}), var_samp({log})"
    )


def _plain(name: str) -> str:
    return f"NULL, count({name}), avg({name}), var_samp({name})"


def sums(wanted: TraceFilter, group_by: Sequence[str], bucket_s: int, limit: int) -> tuple[str, list[Any]]:
    """The query of `TraceStore.measure`; `rows.measured_of` reads its rows."""
    found, values = conditions(wanted)
    bucket = f"t.start_ns / {bucket_s * 10**9} * {bucket_s * 10**9}" if bucket_s else "0::bigint"
    dimensions = "".join(f"{_COLUMNS[name]} AS d{number}, " for number, name in enumerate(group_by))
    grouped = "".join(f"d{number}, " for number in range(len(group_by)))
    query = f"""
        SELECT {grouped} bucket, count(*), count(*) FILTER (WHERE status = {_ERROR}), sum(tokens_in),
               sum(tokens_out), sum(cost), count(*) FILTER (WHERE cache = 'hit'),
               count(*) FILTER (WHERE cache IN ('hit', 'miss')), count(*) FILTER (WHERE stages > 1),
               count(*) FILTER (WHERE stages > 0), count(*) FILTER (WHERE findings <> '{{}}'), sum(said),
               {_times("ms")}, {_times("ttft")}, {_times("tpot")}, {_plain("cost")}, {_plain("tokens_out")},
               {_plain("score")}
        FROM (SELECT {dimensions} {bucket} AS bucket, t.status, {INPUT} AS tokens_in, {OUTPUT} AS tokens_out,
                     {COST} AS cost, t.cache, t.stages, t.findings, t.said, {_MS}::float8 AS ms,
                     {_TTFT}::float8 AS ttft, ({_TPOT})::float8 AS tpot, t.score_sum / NULLIF(t.scores, 0) AS score
              FROM tracing.traces t {where(found)}) seen
        GROUP BY {grouped} bucket
        ORDER BY bucket, count(*) DESC LIMIT %s
    """  # noqa: S608  (constants and checked names only)
    return query, [*values, limit]


def sessions(wanted: TraceFilter, limit: int, after: Position | None) -> tuple[str, list[Any]]:
    """The query of `TraceStore.sessions`; `rows.session_of` reads its rows."""
    found, values = conditions(wanted)
    found.append("t.session <> ''")
    having = ""
    if after is not None:
        having = "HAVING (max(t.start_ns), t.session, t.tenant) < (%s, %s, %s)"
        values += [after.start_ns, after.trace_id, after.tenant]
    query = f"""
        SELECT t.session, t.tenant, min(t.start_ns), max(t.end_ns), max(t.start_ns), count(*),
               count(*) FILTER (WHERE t.status = {_ERROR}), sum({INPUT})::bigint, sum({OUTPUT})::bigint,
               sum({COST})::bigint, sum(t.score_sum) / NULLIF(sum(t.scores), 0),
               (array_agg(t.question ORDER BY t.start_ns) FILTER (WHERE t.question <> ''))[1],
               max(t.user_digest), array_agg(DISTINCT t.model)
        FROM tracing.traces t {where(found)}
        GROUP BY t.session, t.tenant {having}
        ORDER BY max(t.start_ns) DESC, t.session DESC, t.tenant DESC LIMIT %s
    """  # noqa: S608
    return query, [*values, limit]
