"""The rollout store in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from psycopg.types.json import Json, Jsonb

from headrace_kit.config.rollouts import Rollout as Spec
from headrace_kit.stores.postgres import Connection, Postgres
from headrace_rollout.adapters.postgres_evaluations import CALIBRATIONS, LAST, PostgresEvaluations, last_of
from headrace_rollout.domain.evaluation import Evaluation
from headrace_rollout.domain.hearing import Heard
from headrace_rollout.domain.records import Record, State, Transition, Truth, canonical
from headrace_rollout.domain.verdicts import Action, Decision
from headrace_rollout.ports import CALIBRATION, Story

_WRITER = 0x726F6C6C
"""Key of the advisory lock of the only writer."""

_COLUMNS = (
    "id, model, spec, source, salt, state, reason, created_at, step_started_at, step, served_s, counted_at, overlay, "
    "holds, held_s, missing_s, approved, warm, arms, arms_before, arms_at"
)
_NAMES = tuple(_COLUMNS.split(", "))
_STANDING = "(state IN ('queued', 'pending', 'running') OR overlay)"
_SAVE = f"""
INSERT INTO rollout.rollouts ({_COLUMNS}) VALUES ({", ".join(["%s"] * len(_NAMES))})
ON CONFLICT (id) DO UPDATE SET
  source = excluded.source, state = excluded.state, reason = excluded.reason, overlay = excluded.overlay,
  step = excluded.step, step_started_at = excluded.step_started_at, served_s = excluded.served_s,
  counted_at = excluded.counted_at, holds = excluded.holds, held_s = excluded.held_s, missing_s = excluded.missing_s,
  approved = excluded.approved, warm = excluded.warm, arms = excluded.arms, arms_before = excluded.arms_before,
  arms_at = excluded.arms_at
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

    async def warm(self) -> list[Record]:
        """See `Work`."""
        rows = await self._connection.execute(
            f"SELECT {_COLUMNS} FROM rollout.rollouts WHERE warm AND NOT {_STANDING}"  # noqa: S608
        )
        return [_record(row) for row in await rows.fetchall()]

    async def cooled(self, id_: str) -> None:
        """See `Work`."""
        await self._connection.execute("UPDATE rollout.rollouts SET warm = false WHERE id = %s", (id_,))

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
            "UPDATE rollout.rollouts SET served_s = %s, counted_at = %s, holds = %s, held_s = %s, missing_s = %s, "
            "arms = %s, arms_before = %s, arms_at = %s WHERE id = %s",
            (
                record.served_s,
                record.counted_at,
                record.holds,
                record.held_s,
                record.missing_s,
                record.arms,
                record.arms_before,
                record.arms_at,
                record.id,
            ),
        )

    async def forget(self, id_: str) -> None:
        """See `Work`."""
        await self._connection.execute("DELETE FROM rollout.analyses WHERE rollout_id = %s", (id_,))
        for table in ("evaluation_items", "evaluations"):
            await self._connection.execute(
                f"DELETE FROM rollout.{table} WHERE rollout_id = %s AND step != %s",  # noqa: S608
                (id_, CALIBRATION),
            )

    async def decide(self, decision: Decision) -> None:
        """See `Work`."""
        await self._connection.execute(
            "INSERT INTO rollout.decisions (rollout_id, at, step, action, reason, verdicts) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            (
                decision.rollout_id,
                decision.at,
                decision.step,
                decision.action,
                decision.reason,
                Jsonb(list(decision.verdicts)),
            ),
        )

    async def publish(self, news: Mapping[str, Any]) -> None:
        """See `Work`."""
        await self._connection.execute("INSERT INTO rollout.news (told) VALUES (%s)", (Jsonb(dict(news)),))

    async def evaluations(self, ids: Collection[str]) -> dict[str, Evaluation]:
        """See `Work`."""
        return last_of(await (await self._connection.execute(LAST, (list(ids),))).fetchall()) if ids else {}

    async def calibrations(self, ids: Collection[str]) -> dict[str, Evaluation]:
        """See `Work`."""
        found = await self._connection.execute(CALIBRATIONS, (list(ids), CALIBRATION))
        return last_of(await found.fetchall())

    async def heard_revision(self) -> int:
        """See `Work`."""
        row = await (await self._connection.execute("SELECT revision FROM rollout.heard")).fetchone()
        return int(row[0]) if row else 0

    async def heard(self, ids: Collection[str]) -> Heard | None:
        """See `Work`."""
        row = await (await self._connection.execute("SELECT revision, cursor, logs FROM rollout.heard")).fetchone()
        if row is None:
            return None
        rows = await self._connection.execute(
            "SELECT rollout_id, state FROM rollout.analyses WHERE rollout_id = ANY(%s)", (list(ids),)
        )
        return Heard(row[0], row[1], row[2], dict(await rows.fetchall()))

    async def keep_heard(self, heard: Heard, verdicts: Mapping[str, list[dict[str, Any]]]) -> int:
        """See `Work`."""
        row = await (
            await self._connection.execute(
                "INSERT INTO rollout.heard (revision, cursor, logs) VALUES (1, %s, %s) ON CONFLICT (one) DO UPDATE SET "
                "revision = heard.revision + 1, cursor = excluded.cursor, logs = excluded.logs RETURNING revision",
                (heard.cursor, Jsonb(dict(heard.logs))),
            )
        ).fetchone()
        for id_, state in heard.analyses.items():
            await self._connection.execute(
                "INSERT INTO rollout.analyses (rollout_id, state, verdicts) VALUES (%s, %s, %s) "
                "ON CONFLICT (rollout_id) DO UPDATE SET state = excluded.state, verdicts = excluded.verdicts, "
                "updated_at = now()",
                (id_, Json(state), Jsonb(verdicts.get(id_, []))),
            )
        assert row is not None
        return int(row[0])


class PostgresRolloutStore:
    """`RolloutStore` on the schema `rollout`.

    The writer's lock belongs to its transaction, so it ends with it whatever happens to the process or the connection,
    and nobody ever writes without it.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self.suites = PostgresEvaluations(postgres)

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

    @asynccontextmanager
    async def news(self) -> AsyncIterator[Mapping[str, Any] | None]:
        """See `RolloutStore`."""
        async with self._postgres.transaction() as connection:
            cursor = await connection.execute(
                "SELECT number, told FROM rollout.news ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED"
            )
            row = await cursor.fetchone()
            yield row[1] if row else None
            if row:
                await connection.execute("DELETE FROM rollout.news WHERE number = %s", (row[0],))

    async def verdicts(self, ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
        """See `RolloutStore`."""
        rows = await self._postgres.fetch(
            "SELECT rollout_id, verdicts FROM rollout.analyses WHERE rollout_id = ANY(%s)", list(ids)
        )
        return dict(rows)

    async def evaluations(self, ids: Collection[str]) -> dict[str, Evaluation]:
        """See `RolloutStore`."""
        return await self.suites.last(ids)

    async def story(self, id_: str) -> Story:
        """See `RolloutStore`."""
        record = await self.find(id_)
        assert record is not None, "asked for after it was found"
        moved = await self._postgres.fetch(
            "SELECT state, step, weight, overlay, source, was, at, reason, actor FROM rollout.transitions "
            "WHERE rollout_id = %s ORDER BY number LIMIT 10000",
            id_,
        )
        decided = await self._postgres.fetch(
            "SELECT rollout_id, at, step, action, reason, verdicts FROM rollout.decisions WHERE rollout_id = %s "
            "ORDER BY number LIMIT 10000",
            id_,
        )
        analysis = await self._postgres.fetch("SELECT state FROM rollout.analyses WHERE rollout_id = %s", id_)
        return Story(
            [_line(record, row) for row in moved],
            [
                Decision(rollout, at, step, Action(action), reason, tuple(verdicts))
                for rollout, at, step, action, reason, verdicts in decided
            ],
            analysis[0][0] if analysis else None,
        )

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
        record.holds,
        record.held_s,
        record.missing_s,
        record.approved,
        record.warm,
        record.arms,
        record.arms_before,
        record.arms_at,
    )


def _line(record: Record, row: Sequence[Any]) -> Transition:
    state, step, _, overlay, source, was, at, reason, actor = row
    became = replace(
        record, state=State(state), step=step, overlay=overlay, source=source, reason=reason, holds="", held_s=0.0
    )
    return Transition(became, State(was) if was else None, at, reason, actor)


def _record(row: Sequence[Any]) -> Record:
    values = dict(zip(_NAMES, row, strict=True))
    return Record(**values | {"spec": Spec.model_validate(values["spec"]), "state": State(values["state"])})
