"""Profiles of days in PostgreSQL, counted from the summaries of traces."""

from __future__ import annotations

from headrace_kit.stores.postgres import Postgres
from headrace_tracing.adapters.conditions import OUTPUT
from headrace_tracing.domain.profiles import FEATURES, MEANING, Profile

_VALUES = {
    "input_chars": "t.input_chars",
    "output_tokens": f"NULLIF({OUTPUT}, 0)",
    "language": "NULLIF(t.language, '')",
    "topic": "t.topic",
    "refused": "t.refused",
    "groundedness": "t.groundedness",
    "retrieval_score": "t.retrieval_score",
    "feedback": "t.score_sum / NULLIF(t.scores, 0)",
}


def _bin(name: str) -> str:
    edges = ", ".join(str(float(edge)) for edge in FEATURES[name].edges)
    value = f"width_bucket(({_VALUES[name]})::float8, ARRAY[{edges}]::float8[])" if edges else _VALUES[name]
    return f"('{name}', ({value})::text)"


_COUNT = f"""
INSERT INTO tracing.profiles (day, tenant, model, collection, feature, counts)
SELECT day, tenant, model, collection, feature, jsonb_object_agg(bin, requests) FROM (
  SELECT t.day, t.tenant, t.model, c.collection, f.feature, f.bin, count(*) AS requests
  FROM tracing.traces t
  CROSS JOIN LATERAL unnest('{{""}}'::text[] || t.collections) AS c (collection)
  CROSS JOIN LATERAL (VALUES {", ".join(map(_bin, _VALUES))}) AS f (feature, bin)
  WHERE t.day = %s AND t.model <> '' AND f.bin IS NOT NULL
  GROUP BY t.day, t.tenant, t.model, c.collection, f.feature, f.bin
) counted GROUP BY day, tenant, model, collection, feature
"""  # noqa: S608  (constants only)
# Days that have traces are those with tables of spans.
_UNPROFILED = """
SELECT day FROM (
  SELECT split_part(inhrelid::regclass::text, '_', -1)::integer AS day FROM pg_inherits
  WHERE inhparent = 'tracing.day_spans'::regclass
) days LEFT JOIN tracing.profiled p USING (day)
WHERE day < %s AND (p.day IS NULL OR (NOT p.final AND day < %s)) ORDER BY day
"""
_PROFILES = f"""
SELECT day, tenant, model, collection, feature, counts, 0 FROM tracing.profiles
WHERE day BETWEEN %s AND %s AND (%s::text IS NULL OR tenant = %s)
UNION ALL
SELECT day, tenant, model, collection, '{MEANING}', counts, learned FROM tracing.topic_profiles
WHERE day BETWEEN %s AND %s AND (%s::text IS NULL OR tenant = %s)
"""  # noqa: S608


class PostgresProfileStore:
    """`ProfileStore` on the schema `tracing`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def unprofiled(self, today: int) -> list[int]:
        """See `ProfileStore`."""
        return [row[0] for row in await self._postgres.fetch(_UNPROFILED, today, today - 1)]

    async def make_profiles(self, day: int, *, final: bool) -> None:
        """See `ProfileStore`."""
        async with self._postgres.transaction() as connection:
            # One replica at a time; the others find it done, or do the same again.
            await connection.execute("SELECT pg_advisory_xact_lock(1751474534)")
            await connection.execute("DELETE FROM tracing.profiles WHERE day = %s", (day,))
            await connection.execute(_COUNT, (day,))
            await connection.execute(
                "INSERT INTO tracing.profiled AS kept (day, final) VALUES (%s, %s) "
                "ON CONFLICT (day) DO UPDATE SET final = kept.final OR excluded.final",
                (day, final),
            )

    async def profiles(self, tenant: str | None, first: int, last: int) -> list[Profile]:
        """See `ProfileStore`."""
        within = first, last, tenant, tenant
        rows = await self._postgres.fetch(_PROFILES, *within, *within)
        return [Profile(*row) for row in rows]

    async def drop_profiles_before(self, day: int) -> None:
        """See `ProfileStore`."""
        async with self._postgres.transaction() as connection:
            await connection.execute("DELETE FROM tracing.profiles WHERE day < %s", (day,))
            await connection.execute("DELETE FROM tracing.topic_profiles WHERE day < %s", (day,))
            await connection.execute("DELETE FROM tracing.topics_learned WHERE day < %s", (day,))
