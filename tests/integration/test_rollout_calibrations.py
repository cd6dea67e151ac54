"""What is known of a rollout's judge, in a real database: apart from suites of steps, one replica's, and for good."""

from __future__ import annotations

import json

import psycopg
import pytest
import pytest_asyncio

from headrace_evals.agreement import Agreement
from headrace_evals.results import Row, Scored
from headrace_kit.config import parse
from headrace_kit.stores.postgres import Postgres
from headrace_rollout.adapters.postgres import PostgresRolloutStore
from headrace_rollout.domain.calibrating import known
from headrace_rollout.domain.desired import Desired
from headrace_rollout.domain.machine import ask
from headrace_rollout.ports import CALIBRATION, Claim

SERVICES: tuple[str, ...] = ()
CONFIG = """
deployments:
  small: {engine: triton-scripted}
  large: {engine: triton-scripted}
models: {assistant: {deployment: small}}
"""
SWAP = {"candidate": {"deployment": "large"}, "steps": [{"evaluate": "golden"}, {"weight": "100%"}]}
EVALS = "evals: {golden: {file: golden.yaml, tenant: dev}}\n"
COUNTS = {"right": 2, "tie": 1, "wrong": 0, "ties_kept": 1, "ties_lost": 0}


@pytest_asyncio.fixture
async def store(part):
    pool = Postgres(part.dsn, "rollout")
    await pool.open()
    yield PostgresRolloutStore(pool)
    await pool.close()


def claim(owner: str) -> Claim:
    return Claim(owner, 30.0, "digest", 4)


async def test_a_judge_is_kept_apart_from_suites_and_only_once(store):
    config = parse(f"{CONFIG}{EVALS}rollouts: {{assistant: {json.dumps(SWAP)}}}")
    (wanted,) = Desired(config).by_model.values()
    async with store.changing() as work:
        for transition in ask(wanted, [], "api", "test", work.now, lambda: "salt"):
            await work.apply(transition)
    id_, suites = wanted.id, store.suites

    async def found():
        async with store.changing() as work:
            return await work.calibrations([id_])

    assert await found() == {}
    await suites.hindered(id_, CALIBRATION, "judge", "one", "nobody answers")
    assert known((await found())[id_]) == (None, "nobody answers")
    assert await suites.claim(id_, CALIBRATION, "judge", claim("one")) == {}
    assert await suites.claim(id_, CALIBRATION, "judge", claim("two")) is None, "it is another's"
    row = Row([Scored("0", scores={"second": 1.0})])
    assert await suites.keep_row(id_, CALIBRATION, "one", "0", row)
    assert known((await found())[id_]) == (None, "it has made 1 of 4 comparisons")
    assert await suites.claim(id_, CALIBRATION, "judge", claim("one")) == {"0": row}
    assert await store.evaluations([id_]) == {}, "it is no evaluation of a step"

    assert await suites.claim(id_, 0, "golden", claim("two")) == {}
    assert (await store.evaluations([id_]))[id_].suite == "golden"
    assert (await found())[id_].suite == "judge"

    assert await suites.judged(id_, CALIBRATION, "one", "passed", "", [COUNTS])
    assert known((await found())[id_]) == (Agreement(**COUNTS), "")
    assert await suites.claim(id_, CALIBRATION, "judge", claim("two")) is None, "it is known"
    with pytest.raises(psycopg.errors.RaiseException, match="has ended"):
        await store._postgres.fetch("UPDATE rollout.evaluations SET checks = '[]' WHERE step = -1")
