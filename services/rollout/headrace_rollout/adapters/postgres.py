"""The rollout store in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from headrace_kit.config.rollouts import Rollout as Spec
from headrace_kit.stores.postgres import Connection, Postgres
from headrace_rollout.domain.records import Record, State, Transition, Truth, canonical

_WRITER = 0x726F6C6C
"""Key of the advisory lock of the only writer."""

_COLUMNS = (
    "id, model, spec, source, salt, state, reason, created_at, step_started_at, step, served_s, counted_at, overlay"
)
_STANDING = "(state IN ('pending', 'running') OR overlay)"
_SAVE = f"""
INSERT INTO rollout.rollouts ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (id) DO UPDATE SET
  source = excluded.source, state = excluded.state, reason = excluded.reason, overlay = excluded.overlay,
  step = excluded.step, step_started_at = excluded.step_started_at, served_s = excluded.served_s,
  counted_at = excluded.counted_at
"""  # noqa: S608  (constants only)
_LOG = """
INSERT INTO rollout.transitions (rollout_id, at, was, state, step, weight, overlay, source, reason, actor)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


class PostgresWork:
    """`Work` in one transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    @property
    def now(self) -> datetime:
        """See `Work`."""
        return self._now

    async def standing(self) -> list[Record]:
        """See `Work`."""
        rows = await self._connection.execute(
            f"SELECT {_COLUMNS} FROM rollout.rollouts WHERE {_STANDING} ORDER BY created_at, id"  # noqa: S608
        )
        return [_record(row) for row in await rows.fetchall()]

    async def find(self, id_: str) -> Record | None:
        """See `Work`."""
        rows = await self._connection.execute(
            f"SELECT {_COLUMNS} FROM rollout.rollouts WHERE id = %s",  # noqa: S608
            (id_,),
        )
        row = await rows.fetchone()
        return _record(row) if row else None

    async def ended(self, ids: Collection[str]) -> set[str]:
        """See `Work`."""
        rows = await self._connection.execute(
            f"SELECT id FROM rollout.rollouts WHERE id = ANY(%s) AND NOT {_STANDING}",  # noqa: S608
            (list(ids),),
        )
        return {id_ for (id_,) in await rows.fetchall()}

    async def apply(self, transition: Transition) -> None:
        """See `Work`."""
        record = transition.record
        await self._connection.execute(_SAVE, _values(record))
        await self._connection.execute(
            _LOG,
            (
                record.id,
                transition.at,
                transition.was,
                record.state,
                record.step,
                record.weight,
                record.overlay,
                record.source,
                transition.reason,
                transition.actor,
            ),
        )

    async def count(self, record: Record) -> None:
        """See `Work`."""
        await self._connection.execute(
            "UPDATE rollout.rollouts SET served_s = %s, counted_at = %s WHERE id = %s",
            (record.served_s, record.counted_at, record.id),
        )


class PostgresRolloutStore:
    """`RolloutStore` on the schema `rollout`.

    The writer's lock belongs to its transaction, so it ends with it whatever happens to the process or the connection,
    and nobody ever writes without it.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[PostgresWork]:
        """See `RolloutStore`."""
        async with self._postgres.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_WRITER,))
            yield PostgresWork(connection, await _now(connection))

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[PostgresWork | None]:
        """See `RolloutStore`."""
        async with self._postgres.transaction() as connection:
            cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_WRITER,))
            row = await cursor.fetchone()
            yield PostgresWork(connection, await _now(connection)) if row and row[0] else None

    async def truth(self) -> Truth:
        """See `RolloutStore`."""
        # One statement, so one snapshot: the version is the one of these very rows.
        rows = await self._postgres.fetch(
            f"""
            SELECT (SELECT coalesce(max(number), 0) FROM rollout.transitions), {_COLUMNS}
            FROM (SELECT) one LEFT JOIN rollout.rollouts ON {_STANDING} ORDER BY created_at, id
            """  # noqa: S608
        )
        return Truth(rows[0][0], tuple(_record(row[1:]) for row in rows if row[1] is not None))

    async def find(self, id_: str) -> Record | None:
        """See `RolloutStore`."""
        rows = await self._postgres.fetch(f"SELECT {_COLUMNS} FROM rollout.rollouts WHERE id = %s", id_)  # noqa: S608
        return _record(rows[0]) if rows else None

    async def all(self, limit: int) -> list[Record]:
        """See `RolloutStore`."""
        rows = await self._postgres.fetch(
            f"SELECT {_COLUMNS} FROM rollout.rollouts ORDER BY created_at DESC, id LIMIT %s",  # noqa: S608
            limit,
        )
        return [_record(row) for row in rows]


async def _now(connection: Connection) -> datetime:
    # Not now(), which is the start of the transaction: it may have waited for the lock since.
    row = await (await connection.execute("SELECT clock_timestamp()")).fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


def _values(record: Record) -> tuple[Any, ...]:
    return (
        record.id,
        record.model,
        canonical(record.spec),
        record.source,
        record.salt,
        record.state,
        record.reason,
        record.created_at,
        record.step_started_at,
        record.step,
        record.served_s,
        record.counted_at,
        record.overlay,
    )


def _record(row: Sequence[Any]) -> Record:
    id_, model, spec, source, salt, state, reason, created_at, step_started_at, step, served_s, counted_at, overlay = (
        row
    )
    return Record(
        id=id_,
        model=model,
        spec=Spec.model_validate(spec),
        source=source,
        salt=salt,
        state=State(state),
        reason=reason,
        created_at=created_at,
        step_started_at=step_started_at,
        step=step,
        served_s=served_s,
        counted_at=counted_at,
        overlay=overlay,
    )
