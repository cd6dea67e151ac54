"""Two real processes of guardrails: a broken candidate goes back and costs nobody anything, a good one wins."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from headrace_gateway.adapters.openai_http.fake import Endpoint, completion
from headrace_kit.config.ports import OFFSETS
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings

NEW = "2.0"
SAID = '{"hello": "you"}'
ANALYSIS = {
    "alpha": "1%",
    "errors": {"max_increase": "15%"},
    "failures": None,
    "total": {"max_increase": "100%", "judge": ["p50"]},
}
STAYS = [{"weight": "30%", "at_least": "1h"}, {"weight": "100%"}]
GOES_ON = [{"weight": "50%", "at_least": "2s"}, {"weight": "100%", "at_least": "1s"}]


def config(upstream: int, candidate: int) -> str:
    """A model whose answers are JSON, which only the guardrails service can tell."""
    checks = [{"check": "json_schema", "json_schema": {"type": "object"}}]
    deployment = {
        "engine": "openai",
        "address": f"http://127.0.0.1:{upstream}/v1",
        "model": "m",
        "logprobs": False,
        "max_output_tokens": 16,
    }
    return json.dumps(
        {
            "tenants": {"dev": {}},
            "deployments": {"steady": deployment},
            "models": {"assistant": {"deployment": "steady", "guardrails": "json"}},
            "guardrails": {"json": {"output": checks}},
            "services": {
                "guardrails": {"release": "1.0", "canary_address": f"127.0.0.1:{candidate}"},
                "rollout": {"pods": {"guardrails": {"ready_within": "60s"}}},
            },
        }
    )


class World:
    """The platform's part with one release, and the other one beside it."""

    def __init__(self, folder: Path, upstream: int) -> None:
        self.base = free_port_base()
        path = folder / "headrace.yaml"
        path.write_text(config(upstream, self.base + OFFSETS["guardrails-grpc"]))
        self.fault = folder / "fault"
        self.fault.write_text("")
        self.settings = Settings(data_dir=folder / "data", port_base=free_port_base(), config=path)
        self.platform = Platform(self.settings)
        self.process: subprocess.Popen[bytes] | None = None
        self.answers: Counter[int] = Counter()

    def start_candidate(self) -> None:
        env = {**os.environ, **self.settings.environment(), "HEADRACE_PORT_BASE": str(self.base)}
        env |= {"HEADRACE_RELEASE": NEW, "HEADRACE_TRACK": "canary"}
        script = Path(__file__).with_name("guardrails_candidate.py")
        self.process = subprocess.Popen([sys.executable, str(script), str(self.fault)], env=env)

    def kill_candidate(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def client(self, key: str) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.AsyncClient(base_url=self.platform.url, headers=headers, timeout=30)

    def admin(self) -> httpx.AsyncClient:
        return self.client((self.platform.layout.secrets / "bootstrap-admin-key").read_text().strip())

    async def key(self) -> str:
        async with self.admin() as client:
            answer = await client.post("/v1/admin/keys", json={"tenant": "dev", "name": "test", "scopes": []})
            assert answer.status_code == 201, answer.text
            return answer.json()["key"]

    async def start(self, steps: list, **more: object) -> str:
        spec = {"candidate": {"release": NEW}, "steps": steps, "analysis": ANALYSIS, **more}
        async with self.admin() as client:
            asked = {"model": "service/guardrails", "spec": spec}
            answer = await client.post("/v1/admin/rollouts", json=asked)
            assert answer.status_code == 201, answer.text
            return answer.json()["id"]

    async def until(self, id_: str, *states: str, within_s: float = 150) -> dict:
        found: dict = {}
        try:
            async with asyncio.timeout(within_s), self.admin() as client:
                while found.get("state") not in states:
                    await asyncio.sleep(0.2)
                    found = (await client.get(f"/v1/admin/rollouts/{id_}")).json()
        except TimeoutError:
            raise AssertionError(found) from None
        return found

    async def checked_by(self, base: int) -> float:
        """How many texts the release whose ports begin there has judged."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{base + OFFSETS['guardrails-ops']}/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith("headrace_guardrails_checks_total{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    @contextlib.asynccontextmanager
    async def load(self, key: str, workers: int = 3):
        """Requests of ever new users without a pause; whatever is not answered well is counted."""

        async def ask(worker: int) -> None:
            async with self.client(key) as client:
                for turn in range(10**9):
                    body = {
                        "model": "assistant",
                        "messages": [{"role": "user", "content": '{"say": "hello"}'}],
                        "user": f"user {worker} {turn}",
                    }
                    self.answers[(await client.post("/v1/chat/completions", json=body)).status_code] += 1

        tasks = [asyncio.create_task(ask(worker)) for worker in range(workers)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    async def act(served, reader, writer) -> None:
        said = completion(SAID)
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(said) + said
        )

    endpoint = Endpoint(act=act)
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
    made = World(tmp_path_factory.mktemp("two"), server.sockets[0].getsockname()[1])
    try:
        made.platform.start(["postgres", "schema", "valkey", "gateway", "rollout", "guardrails"], bound=True)
        made.start_candidate()
        yield made
    finally:
        made.kill_candidate()
        made.platform.stop()
        server.close()


@pytest.fixture(scope="module")
def keys():
    """The one key of the module, made by whoever needs it first."""
    return {}


async def key_of(world: World, keys: dict[str, str]) -> str:
    keys["key"] = keys.get("key") or await world.key()
    return keys["key"]


@pytest.mark.parametrize(("fault", "metric"), [("errors", "errors"), ("slow", "total")])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_broken_candidate_is_rolled_back_and_costs_no_answer(world, keys, fault, metric):
    world.fault.write_text(fault)
    world.answers.clear()
    id_ = await world.start(STAYS, hold="2h" if fault == "slow" else "1h")
    async with world.load(await key_of(world, keys)):
        ended = await world.until(id_, "rolled_back", "promoted")
    assert ended["state"] == "rolled_back"
    assert f"beyond its margin: {metric}" in ended["reason"], ended
    assert set(world.answers) == {200} and world.answers[200] > 50
    async with world.admin() as client:
        told = (await client.get(f"/v1/admin/services/guardrails/verdict?release={NEW}")).json()
    assert (told["verdict"], told["rollout"]) == ("failure", id_)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_candidate_that_dies_is_rolled_back_and_costs_no_answer(world, keys):
    world.fault.write_text("")
    world.answers.clear()
    id_ = await world.start(STAYS, hold="3h", analysis=None)
    await world.until(id_, "running")
    async with world.load(await key_of(world, keys)):
        while await world.checked_by(world.base) == 0:
            await asyncio.sleep(0.1)
        world.kill_candidate()
        ended = await world.until(id_, "rolled_back", "promoted", within_s=60)
    assert ended["state"] == "rolled_back" and "no pod of it has been ready for 10 s" in ended["reason"]
    assert set(world.answers) == {200}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_good_candidate_wins_and_judges_for_everybody(world, keys):
    world.fault.write_text("")
    world.start_candidate()
    world.answers.clear()
    id_ = await world.start(GOES_ON)
    async with world.load(await key_of(world, keys)):
        ended = await world.until(id_, "promoted", "rolled_back")
        assert ended["state"] == "promoted", ended
        assert ended["weight"] == 10_000

        async def quiet() -> bool:
            before = await world.checked_by(world.platform.port("guardrails-grpc") - OFFSETS["guardrails-grpc"])
            ours = await world.checked_by(world.base)
            while await world.checked_by(world.base) < ours + 40:
                await asyncio.sleep(0.1)
            return before == await world.checked_by(world.platform.port("guardrails-grpc") - OFFSETS["guardrails-grpc"])

        async with asyncio.timeout(60):
            while not await quiet():
                pass
    assert set(world.answers) == {200}
