"""The store of evaluations in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from headrace_evals.results import Row
from headrace_kit.stores.postgres import Postgres
from headrace_rollout.domain.evaluation import Evaluation
from headrace_rollout.ports import Claim

_FOUND = """rollout_id, step, suite, state,
  (SELECT count(*) FROM rollout.evaluation_items i WHERE i.rollout_id = e.rollout_id AND i.step = e.step),
  total, why, checks
FROM rollout.evaluations e WHERE rollout_id = ANY(%s) AND"""
LAST = f"SELECT DISTINCT ON (rollout_id) {_FOUND} step >= 0 ORDER BY rollout_id, step DESC"
CALIBRATIONS = f"SELECT {_FOUND} step = %s"
# One statement: of two replicas that ask at one time one is second, and sees what the first made of it.
_CLAIM = """
INSERT INTO rollout.evaluations (rollout_id, step, suite, digest, total, state, owner, owned_until)
VALUES (%(id)s, %(step)s, %(suite)s, %(digest)s, %(total)s, 'running', %(owner)s,
  clock_timestamp() + make_interval(secs => %(lease)s))
ON CONFLICT (rollout_id, step) DO UPDATE SET
  owner = excluded.owner, owned_until = excluded.owned_until, total = excluded.total
WHERE evaluations.state = 'running'
  AND (evaluations.owner IN ('', excluded.owner) OR evaluations.owned_until < clock_timestamp())
RETURNING digest
"""
_RENEW = """
UPDATE rollout.evaluations SET owned_until = clock_timestamp() + make_interval(secs => %s)
WHERE rollout_id = %s AND step = %s AND owner = %s AND state = 'running' RETURNING 1
"""
_KEEP = """
WITH mine AS (
  UPDATE rollout.evaluations SET why = '' WHERE rollout_id = %s AND step = %s AND owner = %s AND state = 'running'
  RETURNING rollout_id, step
)
INSERT INTO rollout.evaluation_items (rollout_id, step, item, graded) SELECT rollout_id, step, %s, %s FROM mine
ON CONFLICT (rollout_id, step, item) DO UPDATE SET graded = excluded.graded RETURNING 1
"""
_HINDERED = """
INSERT INTO rollout.evaluations (rollout_id, step, suite, digest, total, state, why, owner, owned_until)
VALUES (%s, %s, %s, '', 0, 'running', %s, '', clock_timestamp())
ON CONFLICT (rollout_id, step) DO UPDATE SET why = excluded.why, owner = ''
WHERE evaluations.owner IN ('', %s) AND evaluations.state = 'running' RETURNING 1
"""
_JUDGED = """
UPDATE rollout.evaluations SET state = %s, why = %s, checks = %s, ended_at = clock_timestamp()
WHERE rollout_id = %s AND step = %s AND owner = %s AND state = 'running' RETURNING 1
"""


def last_of(rows: Iterable[Sequence[Any]]) -> dict[str, Evaluation]:
    """The evaluations that `LAST` found."""
    found = {}
    for id_, step, suite, state, done, total, why, checks in rows:
        found[id_] = Evaluation(id_, step, suite, state, done, total, why, tuple(checks))
    return found


class PostgresEvaluations:
    """`EvaluationStore` on the schema `rollout`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def last(self, ids: Collection[str]) -> dict[str, Evaluation]:
        """See `RolloutStore.evaluations`."""
        return last_of(await self._postgres.fetch(LAST, list(ids))) if ids else {}

    async def claim(self, rollout_id: str, step: int, suite: str, claim: Claim) -> Mapping[str, Row] | None:
        """See `EvaluationStore`."""
        async with self._postgres.transaction() as connection:
            named = {
                "id": rollout_id,
                "step": step,
                "suite": suite,
                "digest": claim.digest,
                "total": claim.total,
                "owner": claim.owner,
                "lease": claim.lease_s,
            }
            row = await (await connection.execute(_CLAIM, named)).fetchone()
            if row is None:
                return None
            place = (rollout_id, step)
            if row[0] != claim.digest:
                await connection.execute(
                    "DELETE FROM rollout.evaluation_items WHERE rollout_id = %s AND step = %s", place
                )
                await connection.execute(
                    "UPDATE rollout.evaluations SET digest = %s WHERE rollout_id = %s AND step = %s",
                    (claim.digest, *place),
                )
            found = await connection.execute(
                "SELECT item, graded FROM rollout.evaluation_items WHERE rollout_id = %s AND step = %s", place
            )
            return {item: msgspec.convert(graded, Row) for item, graded in await found.fetchall()}

    async def renew(self, rollout_id: str, step: int, owner: str, lease_s: float) -> bool:
        """See `EvaluationStore`."""
        rows = await self._postgres.fetch(
            _RENEW,
            lease_s,
            rollout_id,
            step,
            owner,
        )
        return bool(rows)

    async def keep_row(self, rollout_id: str, step: int, owner: str, item: str, row: Row) -> bool:
        """See `EvaluationStore`."""
        rows = await self._postgres.fetch(
            _KEEP,
            rollout_id,
            step,
            owner,
            item,
            Jsonb(_without_nul(msgspec.to_builtins(row))),
        )
        return bool(rows)

    async def hindered(self, rollout_id: str, step: int, suite: str, owner: str, why: str) -> None:
        """See `EvaluationStore`."""
        await self._postgres.fetch(
            _HINDERED,
            rollout_id,
            step,
            suite,
            why,
            owner,
        )

    async def judged(
        self, rollout_id: str, step: int, owner: str, state: str, why: str, checks: list[dict[str, Any]]
    ) -> bool:
        """See `EvaluationStore`."""
        rows = await self._postgres.fetch(
            _JUDGED,
            state,
            why,
            Jsonb(checks),
            rollout_id,
            step,
            owner,
        )
        return bool(rows)


def _without_nul(tree: Any) -> Any:
    """PostgreSQL's text has no NUL; models may say one."""
    if isinstance(tree, str):
        return tree.replace("\0", "\ufffd")
    if isinstance(tree, dict):
        return {key: _without_nul(value) for key, value in tree.items()}
    return [_without_nul(value) for value in tree] if isinstance(tree, list) else tree
