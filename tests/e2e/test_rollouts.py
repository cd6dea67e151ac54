"""Rollouts on a real Triton: an evaluation gate and a fresh baseline under load, and a small model as the judge."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from importlib.resources import files
from itertools import groupby
from pathlib import Path

import httpx
import psycopg
import pytest
import pytest_asyncio
from ruamel.yaml import YAML

from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings

ITEMS, LABELS = 12, 3
PRICE = {"input_usd_per_million": 1, "output_usd_per_million": 2}
SCRIPTED = {"engine": "triton-scripted", "price": PRICE}
CONFIG = {
    "tenants": {"dev": {}},
    "deployments": dict.fromkeys(("steady", "next", "fresh", "tried"), SCRIPTED),
    "models": {name: {"deployment": "steady", "retry": {"attempts": 1}} for name in ("gated", "shadowed")}
    | {"referee": {"deployment": "small"}},
    "evals": {"golden": {"file": "evals/golden.yaml", "tenant": "dev"}},
}
SUITE = {
    "items": [{"input": f"Say {n}", "expected": f"You said: Say {n}"} for n in range(ITEMS)],
    "graders": {"right": {"type": "exact"}},
    "thresholds": {"right": {"at_least": "90%"}, "errors": {"at_most": "0%"}},
}
UNITS = ["postgres", "schema", "valkey", "triton", "inference", "gateway", "rollout"]


class World:
    """A platform with the parts that a rollout needs, and keys to it."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        secrets = platform.layout.secrets
        self.admin_key = (secrets / "bootstrap-admin-key").read_text().strip()
        self.dsn = (secrets / "postgres-dsn").read_text().strip()
        self.key = ""

    def http(self, key: str = "") -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {key or self.key}"}
        return httpx.AsyncClient(base_url=self.platform.url, headers=headers, timeout=120)

    async def start(self, model: str, spec: dict) -> str:
        async with self.http(self.admin_key) as client:
            answer = await client.post("/v1/admin/rollouts", json={"model": model, "spec": spec})
            assert answer.status_code == 201, answer.text
            return answer.json()["id"]

    async def explain(self, id_: str) -> dict:
        async with self.http(self.admin_key) as client:
            return (await client.get(f"/v1/admin/rollouts/{id_}/explanation")).json()

    async def until(self, id_: str, state: str) -> dict:
        try:
            async with asyncio.timeout(240), self.http(self.admin_key) as client:
                while True:
                    found = (await client.get(f"/v1/admin/rollouts/{id_}")).json()
                    if found["state"] == state:
                        return found
                    assert found["state"] in ("pending", "running"), found
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(await self.explain(id_)) from None


class Load:
    """People who ask without a pause, each request another one; `seen` counts answers by arm and fault."""

    def __init__(self, world: World, model: str, people: int) -> None:
        self.world, self.model, self.people = world, model, people
        self.seen: Counter[tuple[str, str]] = Counter()
        self.arms: list[str] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(self.people)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, number: int) -> None:
        async with self.world.http() as client:
            for turn in range(10**9):
                body = {"model": self.model, "messages": [{"role": "user", "content": f"Hello {number} {turn}"}]}
                answer = await client.post("/v1/chat/completions", json=body)
                arm = answer.headers.get("x-headrace-arm", "")
                fine = answer.status_code == 200 and answer.json()["choices"][0]["message"]["content"]
                self.seen[arm, "fine" if fine else "failed"] += 1
                self.arms.append(arm)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("rollouts")
    path = folder / "headrace.yaml"
    default = YAML().load((files("headrace_local") / "headrace.yaml").read_text())
    model = default["deployments"]["small"]
    catalogue = {model["model"]: default["catalogue"][model["model"]]}
    with path.open("w") as file:
        YAML().dump(CONFIG | {"catalogue": catalogue, "deployments": CONFIG["deployments"] | {"small": model}}, file)
    (folder / "evals").mkdir()
    with (folder / "evals" / "golden.yaml").open("w") as file:
        YAML().dump(SUITE, file)
    labels = [
        {"input": f"Is {n} even?", "a": "yes" if n % 2 == 0 else "no", "b": "perhaps", "prefers": "a"}
        for n in range(LABELS)
    ]
    (folder / "labels.jsonl").write_text("".join(json.dumps(label) + "\n" for label in labels))
    platform = Platform(Settings(data_dir=folder / "data", port_base=free_port_base(), config=path))
    platform.start(UNITS, bound=True)
    try:
        made = World(platform)
        async with made.http(made.admin_key) as client:
            answer = await client.post("/v1/admin/keys", json={"tenant": "dev", "name": "test", "scopes": []})
            made.key = answer.json()["key"]
        yield made
    finally:
        platform.stop()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_suite_is_passed_and_a_fresh_baseline_compared_while_people_ask(world):
    spec = {
        "candidate": {"deployment": "next"},
        "fresh_baseline": {"deployment": "fresh"},
        "steps": [{"evaluate": "golden"}, {"weight": "40%", "at_least": "2s"}, {"weight": "100%", "at_least": "1s"}],
        "analysis": {"alpha": "5%", "errors": {"max_increase": "25%"}, "failures": None, "total": None},
    }
    async with Load(world, "gated", people=4) as load:
        id_ = await world.start("gated", spec)
        ended = await world.until(id_, "promoted")
        already = len(load.arms)
        async with asyncio.timeout(60):
            while len(load.arms) < already + 20:
                await asyncio.sleep(0.1)
    assert not [key for key in load.seen if key[1] == "failed"], load.seen
    assert {"baseline", "candidate", "fresh"} <= set(load.arms)
    assert set(load.arms[already + load.people :]) == {"candidate"}, "promoted, everybody is on the candidate"
    assert (ended["evaluation"]["state"], ended["evaluation"]["done"]) == ("passed", ITEMS)
    told = await world.explain(id_)
    # It may have waited for the deployments to load, which are transitions of their own.
    assert [stood for stood, _ in groupby((line["state"], line["weight"]) for line in told["transitions"])] == [
        ("pending", 0),
        ("running", 0),
        ("running", 4000),
        ("running", 10_000),
        ("promoted", 10_000),
    ]
    gate, advance = [entry for entry in told["decisions"] if entry["action"] == "advance"]
    assert "the evaluation golden was passed" in gate["reason"]
    [errors] = advance["verdicts"]
    assert errors["state"] == "within"
    # The old baseline is not compared: what counts on that side is what the fresh one answered.
    counted = errors["n_baseline"]
    assert 0 < counted <= load.seen["fresh", "fine"]
    async with await psycopg.AsyncConnection.connect(world.dsn) as connection:
        rows = await connection.execute(
            "SELECT DISTINCT arm, deployment FROM gateway.ledger WHERE model = 'gated' AND rollout_id = %s", (id_,)
        )
        assert set(await rows.fetchall()) == {("baseline", "steady"), ("candidate", "next"), ("fresh", "fresh")}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_small_model_judges_by_a_schema_and_holds_until_people_agree_with_it(world):
    """Three labels never show that a judge is better than a coin, so its candidate is held and then rolled back."""
    spec = {
        "candidate": {"deployment": "tried", "timeout_ms": 50_000},
        "steps": [{"shadow": "100%", "at_least": "1s"}, {"weight": "100%"}],
        "shadow": {
            "judge": {"model": "referee", "labels": "labels.jsonl", "tenant": "dev", "criteria": "Which is right?"}
        },
        "analysis": {
            "errors": None,
            "failures": None,
            "total": None,
            "pairs": {"judge": {}},
            "missing_after": "40s",  # the judge's own comparisons, two calls of a small model each, are made by then
            "missing_limit": "5s",
        },
    }
    async with Load(world, "shadowed", people=1) as load:
        id_ = await world.start("shadowed", spec)
        ended = await world.until(id_, "rolled_back")
    assert set(load.arms) <= {"baseline", ""}, "nobody was on it"
    assert "nothing was known of pairs.judge" in ended["reason"]
    async with await psycopg.AsyncConnection.connect(world.dsn) as connection:
        found = await connection.execute("SELECT state, checks FROM rollout.evaluations WHERE rollout_id = %s", (id_,))
        [(state, checks)] = await found.fetchall()
        graded = await connection.execute("SELECT graded FROM rollout.evaluation_items WHERE rollout_id = %s", (id_,))
        items = [row[0]["scored"][0] for row in await graded.fetchall()]
    assert state == "passed" and sum(checks[0].values()) == LABELS
    assert not any(item.get("error") for item in items), "each verdict was of the form that was asked for"
    assert {item["scores"]["second"] for item in items} <= {0.0, 0.5, 1.0}
