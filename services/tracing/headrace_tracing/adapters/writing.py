"""One batch of spans into PostgreSQL, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace_kit.stores.postgres import Connection
from headrace_tracing.adapters.codec import content_body, span_body
from headrace_tracing.adapters.rows import SPAN, SPAN_TYPES, SUMMED, SUMMED_TYPES, summed
from headrace_tracing.domain.spans import KINDS, STATUSES, Span
from headrace_tracing.domain.summaries import summarise

_WORDS_CHARS = 65_536
_CONTENT = "trace_id, span_id, day, tenant, body"
_CONTENT_TYPES = ("bytea", "bytea", "int4", "text", "bytea")
_LISTS = frozenset({"findings", "collections", "services"})
_UNNESTED = ", ".join(f"%s::{kind}[]" for kind in SUMMED_TYPES)
_READ = ", ".join(
    f"ARRAY(SELECT jsonb_array_elements_text({name}::jsonb))" if name in _LISTS else name for name in SUMMED
)
_FACTS = (
    "model", "deployment", "arm", "operation", "provider", "cache", "key_id", "config_hash", "rollout", "user_digest",
    "question", "ttft_us", "input_chars", "language", "topic", "refused", "groundedness", "retrieval_score",
)  # fmt: skip
_ADDED = (
    "spans", "input_tokens", "output_tokens", "cost_nano_usd", "reported_input_tokens", "reported_output_tokens",
    "reported_nano_usd", "attempts", "failed", "unsure",
)  # fmt: skip


_UNION = (
    'CASE WHEN kept.{0} @> excluded.{0} THEN kept.{0} ELSE ARRAY(SELECT DISTINCT value COLLATE "C" '
    "FROM unnest(kept.{0} || excluded.{0}) value ORDER BY 1 LIMIT 64) END"
)


def _merging() -> str:
    """The same as `summaries.merge`, done by the database so that two writers never lose each other's sums."""

    def chosen(which: str, names: Sequence[str]) -> list[str]:
        return [f"{name} = CASE WHEN {which} THEN excluded.{name} ELSE kept.{name} END" for name in names]

    sets = chosen("excluded.start_ns < kept.start_ns", ("name", "status", "error"))
    sets += ["start_ns = least(kept.start_ns, excluded.start_ns)", "end_ns = greatest(kept.end_ns, excluded.end_ns)"]
    sets += [f"{name} = kept.{name} + excluded.{name}" for name in _ADDED]
    sets += chosen("kept.model_at_ns IS NULL OR excluded.model_at_ns < kept.model_at_ns", _FACTS)
    sets += ["model_at_ns = least(kept.model_at_ns, excluded.model_at_ns)"]
    sets += [f"{name} = greatest(kept.{name}, excluded.{name})" for name in ("session", "stages", "capture")]
    sets += [f"{name} = {_UNION.format(name)}" for name in sorted(_LISTS)]
    return ", ".join([*sets, "last_seen = now()", "settled = 0"])


_UPSERT = f"""
INSERT INTO tracing.traces AS kept ({", ".join(SUMMED)}, day)
SELECT {_READ}, day FROM unnest({_UNNESTED}, %s::integer[]) AS sent ({", ".join(SUMMED)}, day)
ON CONFLICT (trace_id, tenant) DO UPDATE SET {_merging()}
RETURNING trace_id, tenant, day, thinned
"""  # noqa: S608  (constants only)
_INSERT_SOME = f"""
INSERT INTO tracing.day_spans ({SPAN})
SELECT * FROM unnest({", ".join(f"%s::{kind}[]" for kind in SPAN_TYPES)})
ON CONFLICT DO NOTHING RETURNING trace_id, span_id, tenant
"""  # noqa: S608
_INSERT_TEXTS = """
INSERT INTO tracing.day_texts (trace_id, day, tenant, words)
SELECT trace_id, day, tenant, to_tsvector('simple', words)
FROM unnest(%s::bytea[], %s::integer[], %s::text[], %s::text[]) AS sent (trace_id, day, tenant, words)
"""
_json = msgspec.json.Encoder()


class Moved(Exception):
    """Another writer put a trace of this batch under another day, or its spans were thinned in the meantime."""


async def write(
    connection: Connection, spans: Sequence[Span], today: int, *, fresh: bool, patient: bool = False
) -> int:
    """Write sorted, distinct spans; returns how many were new.

    Args:
        fresh: nothing of it is expected to be there: it is copied, and a span that is there fails the whole.
        patient: what is known of its traces is locked first, so that nobody changes it meanwhile.

    Raises:
        psycopg.errors.UniqueViolation: with `fresh`, some span is there already.
        Moved: try again.
    """
    known = await _known(connection, spans, lock=patient)
    days = {key: day for key, (day, _) in known.items()}
    gone = {key: _ids(thinned) for key, (_, thinned) in known.items() if thinned}
    if gone:
        spans = [span for span in spans if span.span_id not in gone.get((span.trace_id, span.tenant), ())]
        if not spans:
            return 0
    rows = [_row(span, days.get((span.trace_id, span.tenant), today)) for span in spans]
    if fresh:
        await _copy(connection, "day_spans", SPAN, SPAN_TYPES, rows)
        new = spans
    else:
        columns = [list(column) for column in zip(*rows, strict=True)]
        found = await (await connection.execute(_INSERT_SOME, columns)).fetchall()
        stored = {(trace.hex(), span.hex(), tenant) for trace, span, tenant in found}
        new = [span for span in spans if (span.trace_id, span.span_id, span.tenant) in stored]
    if not new:
        return 0
    summaries = summarise(new)
    values = [summed(summary) for summary in summaries]
    given = [days.get((summary.trace_id, summary.tenant), today) for summary in summaries]
    columns = [
        [_json.encode(value).decode() for value in column] if name in _LISTS else list(column)
        for name, column in zip(SUMMED, zip(*values, strict=True), strict=True)
    ]
    kept = await (await connection.execute(_UPSERT, [*columns, given])).fetchall()
    wanted = {(summary.trace_id, summary.tenant): day for summary, day in zip(summaries, given, strict=True)}
    for trace, tenant, day, thinned in kept:
        key = trace.hex(), tenant
        if wanted[key] != day or known.get(key, (day, b""))[1] != thinned:
            raise Moved
    await _contents(connection, [span for span in new if span.content or span.sealed], wanted)
    return len(new)


async def _known(
    connection: Connection, spans: Sequence[Span], *, lock: bool
) -> dict[tuple[str, str], tuple[int, bytes]]:
    ids = [bytes.fromhex(trace_id) for trace_id in {span.trace_id for span in spans}]
    query = "SELECT trace_id, tenant, day, thinned FROM tracing.traces WHERE trace_id = ANY(%s)"
    found = await connection.execute(query + (" ORDER BY trace_id, tenant FOR UPDATE" if lock else ""), (ids,))
    return {(trace.hex(), tenant): (day, thinned) for trace, tenant, day, thinned in await found.fetchall()}


def _ids(thinned: bytes) -> frozenset[str]:
    text = thinned.hex()
    return frozenset(text[at : at + 16] for at in range(0, len(text), 16))


async def _contents(connection: Connection, spans: Sequence[Span], days: dict[tuple[str, str], int]) -> None:
    contents, sealed = [], []
    texts: dict[tuple[str, str], list[str]] = {}
    for span in spans:
        key = span.trace_id, span.tenant
        place = bytes.fromhex(span.trace_id), bytes.fromhex(span.span_id), days[key], span.tenant
        if span.content:
            contents.append((*place, content_body(span.content)))
            texts.setdefault(key, []).append(span.content.words)
        if span.sealed:
            sealed.append((*place, span.sealed))
    for table, rows in (("day_contents", contents), ("day_sealed", sealed)):
        if rows:
            await _copy(connection, table, _CONTENT, _CONTENT_TYPES, rows)
    if texts:
        await connection.execute(
            _INSERT_TEXTS,
            (
                [bytes.fromhex(trace_id) for trace_id, _ in texts],
                [days[key] for key in texts],
                [tenant for _, tenant in texts],
                ["\n".join(words)[:_WORDS_CHARS] for words in texts.values()],
            ),
        )


async def _copy(
    connection: Connection, table: str, columns: str, types: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    async with connection.cursor() as cursor:
        async with cursor.copy(f"COPY tracing.{table} ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(types)
            for row in rows:
                await copy.write_row(row)


def _row(span: Span, day: int) -> tuple[Any, ...]:
    return (
        bytes.fromhex(span.trace_id), bytes.fromhex(span.span_id), day, span.start_ns, span.end_ns,
        KINDS.index(span.kind), STATUSES.index(span.status), bytes.fromhex(span.parent_span_id), span.tenant,
        span.service, span.name, span_body(span),
    )  # fmt: skip
