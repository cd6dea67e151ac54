"""Rollouts over real processes: good candidates promote themselves, harmful ones are rolled back by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter, defaultdict

import httpx
import psycopg
import pytest
import pytest_asyncio

from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings

FAULTS = ("errors", "slow", "empty", "json", "dear", "tenant")
MODELS = ("good", *FAULTS, "killed")
JSON_ASKED = {"type": "json_object"}
STEPS = [{"weight": "30%", "at_least": "2s"}, {"weight": "60%", "at_least": "2s"}, {"weight": "100%", "at_least": "2s"}]
STAYS = [{"weight": "30%", "at_least": "1h"}, {"weight": "100%"}]
ANALYSIS = {
    "alpha": "1%",
    "errors": {"max_increase": "15%"},
    "failures": None,
    "total": {"max_increase": "100%", "judge": ["p50"]},
    "cost": {"max_increase": "50%"},
    "segments": ["tenant"],
}


def config(address: str) -> str:
    """A model of each name on the deployment `steady`, and a deployment of each fault at an endpoint that has it."""
    deployments = {
        name: {
            "engine": "openai",
            "address": f"{address}/{name}/v1",
            "model": "there",
            "max_output_tokens": 16,
            "logprobs": False,
            "price": {"output_usd_per_million": 30 if name == "dear" else 10},
        }
        for name in ("steady", *MODELS)
    }
    # A failed attempt is the caller's: nothing hides what the candidate does.
    models = {name: {"deployment": "steady", "retry": {"attempts": 1}, "breaker": None} for name in MODELS}
    return json.dumps({"tenants": {"dev": {}, "rival": {}}, "deployments": deployments, "models": models})


class Upstream:
    """OpenAI's chat for all deployments; the first part of the path says which fault an answer has."""

    def __init__(self) -> None:
        self.random = random.Random(7)
        self.address = ""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while asked := await reader.readuntil(b"\r\n\r\n"):
                line, _, headers = asked.decode().partition("\r\n")
                size = next(
                    int(value.split(":")[1]) for value in headers.lower().split("\r\n") if "content-length" in value
                )
                body = json.loads(await reader.readexactly(size))
                status, answer = await self._answer(line.split(" ")[1].split("/")[1], body)
                said = json.dumps(answer).encode()
                head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(said)}\r\n\r\n"
                writer.write(head.encode() + said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, fault: str, body: dict) -> tuple[int, dict]:
        wants_json = body.get("response_format") == JSON_ASKED
        text = '{"ok": true}' if wants_json else "yes"
        await asyncio.sleep(0.02 * self.random.lognormvariate(0, 0.3))
        bad = self.random.random() < 0.5
        if (fault == "errors" and bad) or (fault == "tenant" and "rival" in str(body["messages"])):
            return 500, {"error": {"message": "broken", "type": "server_error", "code": "broken"}}
        if fault == "slow":
            await asyncio.sleep(0.3)
        elif fault == "empty" and bad:
            text = ""
        elif fault == "json" and bad and wants_json:
            text = '{"ok": tr'
        message = {"role": "assistant", "content": text}
        return 200, {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "there",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 10, "total_tokens": 13},
        }


class Load:
    """Requests without a pause for models, and what their callers saw, by model and arm.

    `quiet` counts how many in a row were not on a candidate.
    """

    def __init__(self, world: World, tenants: dict[str, str]) -> None:
        self.world, self.tenants = world, tenants
        self.seen: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self.quiet: Counter[str] = Counter()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def begin(self, model: str, workers: int = 2) -> None:
        self._tasks += [asyncio.create_task(self._ask(model, number)) for number in range(workers)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, model: str, number: int) -> None:
        names = list(self.tenants)
        async with httpx.AsyncClient(base_url=self.world.platform.url, timeout=30) as client:
            for turn in range(10**9):
                tenant = names[turn % len(names)]
                body = {"model": model, "messages": [{"role": "user", "content": f"I am of {tenant}"}]}
                if model == "json":
                    body["response_format"] = JSON_ASKED
                answer = await client.post(
                    "/v1/chat/completions",
                    json=body,
                    headers={"authorization": f"Bearer {self.tenants[tenant]}"},
                )
                arm = answer.headers.get("x-headrace-arm", "none")
                fine = answer.status_code == 200 and (
                    model not in ("json", "empty") or _whole(answer.json()["choices"][0]["message"]["content"], model)
                )
                self.seen[model, arm]["fine" if fine else "failed"] += 1
                self.quiet[model] = 0 if arm == "candidate" else self.quiet[model] + 1


def _whole(text: str | None, model: str) -> bool:
    if model == "empty":
        return bool(text)
    with contextlib.suppress(ValueError):
        return isinstance(json.loads(text or ""), dict)
    return False


class World:
    """A gateway and the rollout service on real stores."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        secrets = platform.layout.secrets
        self.admin_key = (secrets / "bootstrap-admin-key").read_text().strip()
        self.dsn = (secrets / "postgres-dsn").read_text().strip()

    def admin(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.admin_key}"}
        return httpx.AsyncClient(base_url=self.platform.url, headers=headers, timeout=30)

    async def key(self, tenant: str) -> str:
        async with self.admin() as client:
            answer = await client.post("/v1/admin/keys", json={"tenant": tenant, "name": "test", "scopes": []})
            assert answer.status_code == 201, answer.text
            return answer.json()["key"]

    async def start(self, model: str, steps: list, analysis: dict) -> str:
        spec = {"candidate": {"deployment": model}, "steps": steps, "analysis": analysis}
        async with self.admin() as client:
            answer = await client.post("/v1/admin/rollouts", json={"model": model, "spec": spec})
            assert answer.status_code == 201, answer.text
            return answer.json()["id"]

    async def explain(self, id_: str) -> dict:
        async with self.admin() as client:
            answer = await client.get(f"/v1/admin/rollouts/{id_}/explanation")
            assert answer.status_code == 200, answer.text
            return answer.json()

    async def until(self, id_: str, state: str, within_s: float = 150) -> dict:
        try:
            async with asyncio.timeout(within_s), self.admin() as client:
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        answer = await client.get(f"/v1/admin/rollouts/{id_}")
                        if answer.status_code == 200:
                            found = answer.json()
                            if found["state"] == state:
                                return found
                            assert found["state"] in ("pending", "running"), found
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(await self.explain(id_)) from None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream():
    made = Upstream()
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    path = folder / "headrace.yaml"
    path.write_text(config(upstream.address))
    platform = Platform(Settings(data_dir=folder / "data", port_base=free_port_base(), config=path))
    platform.start(["postgres", "schema", "valkey", "gateway", "rollout"], bound=True)
    try:
        yield World(platform)
    finally:
        platform.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenants(world):
    return {tenant: await world.key(tenant) for tenant in ("dev", "rival")}


@pytest.mark.asyncio(loop_scope="module")
async def test_good_candidates_promote_themselves_and_harmful_ones_are_rolled_back(world, tenants):
    async with Load(world, tenants) as load:
        ids = {}
        for model in ("good", *FAULTS):
            load.begin(model)
            ids[model] = await world.start(model, STEPS if model == "good" else STAYS, ANALYSIS)
        ended = {
            model: await world.until(ids[model], "promoted" if model == "good" else "rolled_back") for model in ids
        }
        async with asyncio.timeout(60):
            while any(load.quiet[model] < 30 for model in FAULTS):
                await asyncio.sleep(0.2)
        explained = {model: await world.explain(ids[model]) for model in ids}
    assert ended["good"]["weight"] == 10_000
    assert [decision["action"] for decision in explained["good"]["decisions"] if decision["action"] != "hold"] == [
        "advance",
        "advance",
        "promote",
    ]
    metrics = {"errors": "errors", "slow": "total", "empty": "errors", "json": "errors", "dear": "cost"}
    for model, metric in metrics.items():
        assert f"beyond its margin: {metric}" in ended[model]["reason"], ended[model]["reason"]
        last = explained[model]["decisions"][-1]
        assert last["action"] == "roll_back"
        assert any(verdict["metric"] == metric and verdict["state"] == "beyond" for verdict in last["verdicts"])
    assert "tenant=rival" in ended["tenant"]["reason"] or "errors" in ended["tenant"]["reason"]
    for model in ids:
        failed = {arm: load.seen[model, arm]["failed"] for arm in ("baseline", "candidate", "none")}
        assert (failed["baseline"], failed["none"]) == (0, 0), "only the canary's own share may fail"
        assert load.seen[model, "candidate"].total() > 0


@pytest.mark.asyncio(loop_scope="module")
async def test_a_controller_killed_again_and_again_counts_and_decides_once(world, tenants):
    async with Load(world, tenants) as load:
        load.begin("killed", workers=4)
        analysis = {"alpha": "1%", "errors": {"max_increase": "15%"}, "failures": None, "total": None}
        id_ = await world.start("killed", STEPS, analysis)
        for _ in range(2):
            await asyncio.sleep(4)
            restarts = world.platform.status().units["rollout"].restarts
            world.platform.kill("rollout")
            await asyncio.to_thread(world.platform.wait_ready, "rollout", restarts=restarts + 1)
        await world.until(id_, "promoted")
    told = await world.explain(id_)
    assert [(line["state"], line["step"]) for line in told["transitions"]] == [
        ("pending", 0),
        ("running", 0),
        ("running", 1),
        ("running", 2),
        ("promoted", 2),
    ]
    assert [entry["action"] for entry in told["decisions"] if entry["action"] != "hold"] == [
        "advance",
        "advance",
        "promote",
    ]
    # Each outcome before the last step is counted at most once, whatever was read again.
    counted = told["decisions"][-1]["verdicts"] or told["rollout"]["verdicts"]
    [errors] = [verdict for verdict in counted if verdict["metric"] == "errors"]
    served = sum(load.seen["killed", arm].total() for arm in ("baseline", "candidate"))
    assert 0 < errors["n_baseline"] + errors["n_candidate"] <= served
    async with await psycopg.AsyncConnection.connect(world.dsn) as connection:
        rows = await connection.execute(
            "SELECT action, step, count(*) FROM rollout.decisions WHERE rollout_id = %s AND action <> 'hold' "
            "GROUP BY 1, 2 HAVING count(*) > 1",
            (id_,),
        )
        assert await rows.fetchall() == []
