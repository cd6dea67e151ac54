"""The review queue in PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from headrace_guardrails.domain.reviews import NewReview, Review
from headrace_guardrails.ports import Subject
from headrace_kit.errors import BadInput
from headrace_kit.stores.postgres import Postgres

_COLUMNS = (
    'id::text, tenant, "user", policy, version, direction, findings, trace_id, state, created_at, expires_at, '
    "coalesce(claimed_by, ''), claimed_until, coalesce(decided_by, ''), decided_at, reason, digest, sealed, also"
)
_WAITING = "(state = 'open' OR state = 'claimed')"


class PostgresReviews:
    """Fulfils `ReviewStore`."""

    def __init__(self, store: Postgres) -> None:
        self._store = store

    async def approved(self, digest: bytes, subject: Subject, within_s: float) -> str:
        """See `ReviewStore`."""
        rows = await self._store.fetch(
            "UPDATE guardrails.reviews SET owners = ARRAY(SELECT DISTINCT unnest(owners || %s::text)), "
            "also = ARRAY(SELECT DISTINCT unnest(also || %s::text[])) WHERE id = ("
            "SELECT id FROM guardrails.reviews WHERE digest = %s AND state = 'approved' "
            "AND decided_at > now() - make_interval(secs => %s) ORDER BY decided_at DESC LIMIT 1) RETURNING id::text",
            subject.user,
            list(subject.also),
            digest,
            within_s,
        )
        return str(rows[0][0]) if rows else ""

    async def add(self, new: NewReview, review_id: str, ttl_s: float) -> str:
        """See `ReviewStore`."""
        one = new.subject
        async with self._store.transaction() as connection:
            # What is over but was not swept yet must not stand in the way.
            await connection.execute(
                f"UPDATE guardrails.reviews SET state = 'expired' WHERE digest = %s AND {_WAITING} "  # noqa: S608
                "AND expires_at <= now()",
                (new.digest,),
            )
            cursor = await connection.execute(
                'INSERT INTO guardrails.reviews (id, tenant, "user", policy, version, direction, findings, request_id, '
                "trace_id, digest, sealed, also, state, expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, "
                "%s, %s, 'open', now() + make_interval(secs => %s)) "
                # An equal one that waits is kept, and is whoever's sent it.
                "ON CONFLICT (digest) WHERE state IN ('open', 'claimed') DO UPDATE SET "
                'owners = ARRAY(SELECT DISTINCT unnest(reviews.owners || excluded."user")), '
                "also = ARRAY(SELECT DISTINCT unnest(reviews.also || excluded.also)) "
                "RETURNING id::text",
                (
                    review_id,
                    one.tenant,
                    one.user,
                    one.policy,
                    new.version,
                    one.direction,
                    Jsonb(list(new.findings)),
                    one.request_id,
                    one.trace_id,
                    new.digest,
                    new.sealed,
                    list(one.also),
                    ttl_s,
                ),
            )
            row = await cursor.fetchone()
            assert row is not None
            return str(row[0])

    async def get(self, review_id: str, tenant: str | None) -> Review | None:
        """See `ReviewStore`."""
        where, values = _one(review_id, tenant)
        rows = await self._store.fetch(f"SELECT {_COLUMNS} FROM guardrails.reviews WHERE {where}", *values)  # noqa: S608
        return _review(rows[0]) if rows else None

    async def of(self, review_id: str, tenant: str, user: str) -> Review | None:
        """See `ReviewStore`."""
        rows = await self._store.fetch(
            f"SELECT {_COLUMNS} FROM guardrails.reviews "  # noqa: S608
            'WHERE id = %s AND tenant = %s AND ("user" = %s OR %s = ANY(owners))',
            _uuid(review_id, "id"),
            tenant,
            user,
            user,
        )
        return _review(rows[0]) if rows else None

    async def list(
        self, states: Sequence[str], policy: str, tenant: str | None, after: str, limit: int
    ) -> Sequence[Review]:
        """See `ReviewStore`."""
        conditions, values = ["state = ANY(%s)"], [list(states), *list[Any]()]
        for condition, value in (("policy = %s", policy), ("tenant = %s", tenant)):
            if value:
                conditions.append(condition)
                values.append(value)
        if after:
            conditions.append("id > %s")
            values.append(_uuid(after, "page_token"))
        rows = await self._store.fetch(
            f"SELECT {_COLUMNS} FROM guardrails.reviews WHERE {' AND '.join(conditions)} ORDER BY id LIMIT %s",  # noqa: S608
            *values,
            limit,
        )
        return [_review(row) for row in rows]

    async def claim(self, review_id: str, tenant: str | None, by: str, for_s: float) -> bool:
        """See `ReviewStore`."""
        where, values = _one(review_id, tenant)
        rows = await self._store.fetch(
            "UPDATE guardrails.reviews SET state = 'claimed', claimed_by = %s, "  # noqa: S608
            "claimed_until = now() + make_interval(secs => %s) "
            f"WHERE {where} AND {_WAITING} AND expires_at > now() "
            "AND (state = 'open' OR claimed_by = %s OR claimed_until <= now()) RETURNING id",
            by,
            for_s,
            *values,
            by,
        )
        return bool(rows)

    async def decide(self, review_id: str, tenant: str | None, by: str, state: str, reason: str) -> bool:
        """See `ReviewStore`."""
        where, values = _one(review_id, tenant)
        rows = await self._store.fetch(
            "UPDATE guardrails.reviews SET state = %s, decided_by = %s, decided_at = now(), reason = %s "  # noqa: S608
            f"WHERE {where} AND {_WAITING} AND expires_at > now() "
            "AND (state = 'open' OR claimed_by = %s OR claimed_until <= now()) RETURNING id",
            state,
            by,
            reason,
            *values,
            by,
        )
        return bool(rows)

    async def sweep(self, forget_s: float) -> int:
        """See `ReviewStore`."""
        expired = await self._store.fetch(
            f"UPDATE guardrails.reviews SET state = 'expired' WHERE {_WAITING} AND expires_at <= now() RETURNING id"  # noqa: S608
        )
        await self._store.fetch(
            f"UPDATE guardrails.reviews SET sealed = NULL WHERE sealed IS NOT NULL AND NOT {_WAITING} "  # noqa: S608
            "AND coalesce(decided_at, expires_at) <= now() - make_interval(secs => %s)",
            forget_s,
        )
        return len(expired)


def _one(review_id: str, tenant: str | None) -> tuple[str, list[Any]]:
    if tenant is None:
        return "id = %s", [_uuid(review_id, "id")]
    return "id = %s AND tenant = %s", [_uuid(review_id, "id"), tenant]


def _uuid(text: str, param: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise BadInput(f"{param} is none that was given out", param=param) from error


def _review(row: Any) -> Review:
    return Review(*row)
