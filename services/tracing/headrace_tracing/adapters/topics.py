"""What topics are learned from, and how often each was asked about, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.types.json import Jsonb

from headrace_kit.stores.postgres import Postgres
from headrace_tracing.domain.profiles import Profile
from headrace_tracing.domain.sampled import Asked, Question

CLAIM = "15 minutes"
"""After which another replica, or this one, may do the work that somebody began and did not end."""

MOST_QUESTIONS = 10_000
"""Questions that topics of one model are learned from and counted in: of more the same share of each day."""

_CLAIM = f"""
INSERT INTO tracing.topics_learned AS kept (day, version, claimed_until)
VALUES (%s, %s, now() + interval '{CLAIM}')
ON CONFLICT (day) DO UPDATE SET version = excluded.version, claimed_until = excluded.claimed_until, ended = false
WHERE (NOT kept.ended OR kept.version <> excluded.version) AND kept.claimed_until < now()
RETURNING day
"""  # noqa: S608  (constants only)
# The same of a day's traces each time, whatever came later; with a small `most`, the same number of each group.
_UNEMBEDDED = """
SELECT trace_id, tenant, model, collections, question FROM (
  SELECT t.trace_id, t.tenant, t.model, t.collections, t.question,
         row_number() OVER (PARTITION BY t.tenant, t.model ORDER BY sha256(t.trace_id)) AS place
  FROM tracing.traces t WHERE t.day = %s AND t.model <> '' AND t.question <> ''
  ORDER BY place, t.tenant, t.model LIMIT %s
) picked
WHERE place <= %s AND NOT EXISTS (
  SELECT FROM tracing.topic_vectors v
  WHERE v.day = %s AND v.trace_id = picked.trace_id AND v.tenant = picked.tenant AND v.version = %s
)
ORDER BY tenant, model, place
"""
_QUESTIONS = """
SELECT v.day, v.trace_id, v.collections,
       coalesce(NULLIF(t.user_digest, ''), NULLIF(t.session, ''), encode(v.trace_id, 'hex')),
       coalesce(t.question, ''), v.vector
FROM (
  SELECT * FROM tracing.topic_vectors
  WHERE tenant = %s AND model = %s AND day BETWEEN %s AND %s AND version = %s
  ORDER BY sha256(trace_id) LIMIT %s
) v LEFT JOIN tracing.traces t ON t.trace_id = v.trace_id AND t.tenant = v.tenant
"""


class PostgresTopicStore:
    """`TopicStore` on the schema `tracing`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def claim_topics(self, day: int, version: str) -> bool:
        """See `TopicStore`."""
        return bool(await self._postgres.fetch(_CLAIM, day, version))

    async def free_topics(self, day: int) -> None:
        """See `TopicStore`."""
        async with self._postgres.transaction() as connection:
            await connection.execute(
                "UPDATE tracing.topics_learned SET claimed_until = '-infinity' WHERE day = %s", (day,)
            )

    async def end_topics(self, day: int) -> None:
        """See `TopicStore`."""
        async with self._postgres.transaction() as connection:
            await connection.execute(
                "UPDATE tracing.topics_learned SET ended = true, claimed_until = '-infinity' WHERE day = %s", (day,)
            )

    async def unembedded(self, day: int, version: str, sample: int, most: int) -> list[Asked]:
        """See `TopicStore`."""
        rows = await self._postgres.fetch(_UNEMBEDDED, day, most, sample, day, version)
        return [Asked(trace_id, tenant, model, tuple(of), text) for trace_id, tenant, model, of, text in rows]

    async def keep_vectors(self, day: int, version: str, vectors: Sequence[tuple[Asked, bytes]]) -> None:
        """See `TopicStore`."""
        rows = [
            (day, one.trace_id, one.tenant, version, one.model, list(one.collections), vector)
            for one, vector in vectors
        ]
        async with self._postgres.transaction() as connection, connection.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO tracing.topic_vectors (day, trace_id, tenant, version, model, collections, vector) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                rows,
            )
            # The claim lasts as long as somebody works.
            await cursor.execute(
                f"UPDATE tracing.topics_learned SET claimed_until = now() + interval '{CLAIM}' "  # noqa: S608
                "WHERE claimed_until > now()"
            )

    async def embedded(self, first: int, last: int, version: str) -> list[tuple[str, str]]:
        """See `TopicStore`."""
        return await self._postgres.fetch(
            "SELECT DISTINCT tenant, model FROM tracing.topic_vectors "
            "WHERE day BETWEEN %s AND %s AND version = %s ORDER BY 1, 2",
            first, last, version,
        )  # fmt: skip

    async def questions(self, tenant: str, model: str, first: int, last: int, version: str) -> list[Question]:
        """See `TopicStore`."""
        rows = await self._postgres.fetch(_QUESTIONS, tenant, model, first, last, version, MOST_QUESTIONS)
        return [Question(day, trace_id, tuple(of), *rest) for day, trace_id, of, *rest in rows]

    async def save_topics(self, learned: int, tenant: str, model: str, profiles: Sequence[Profile]) -> None:
        """See `TopicStore`."""
        async with self._postgres.transaction() as connection, connection.cursor() as cursor:
            await cursor.execute(
                "DELETE FROM tracing.topic_profiles WHERE learned = %s AND tenant = %s AND model = %s",
                (learned, tenant, model),
            )
            await cursor.executemany(
                "INSERT INTO tracing.topic_profiles (learned, day, tenant, model, collection, counts) "
                "VALUES (%s, %s, %s, %s, %s, %s)",
                [(learned, one.day, tenant, model, one.collection, Jsonb(dict(one.counts))) for one in profiles],
            )
