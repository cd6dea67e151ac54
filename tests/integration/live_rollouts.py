"""Rollouts over real processes: an endpoint with faults, people who ask, and a platform with a gateway and rollout."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings

JSON_ASKED = {"type": "json_object"}
STEPS = [{"weight": "30%", "at_least": "2s"}, {"weight": "60%", "at_least": "2s"}, {"weight": "100%", "at_least": "2s"}]
STAYS = [{"weight": "30%", "at_least": "1h"}, {"weight": "100%"}]


def config(address: str, names: Sequence[str]) -> dict:
    """A model of each name on the deployment `steady`, and a deployment of each at an endpoint that has its fault."""
    deployments = {
        name: {
            "engine": "openai",
            "address": f"{address}/{name}/v1",
            "model": "there",
            "max_output_tokens": 16,
            "logprobs": False,
            "price": {"output_usd_per_million": 30 if name == "dear" else 10},
        }
        for name in ("steady", *names)
    }
    # A failed attempt is the caller's: nothing hides what the candidate does.
    models = {name: {"deployment": "steady", "retry": {"attempts": 1}, "breaker": None} for name in names}
    return {"tenants": {"dev": {}, "rival": {}}, "deployments": deployments, "models": models}


class Upstream:
    """OpenAI's chat for all deployments; the first part of the path says which fault an answer has."""

    def __init__(self) -> None:
        self.random = random.Random(7)
        self.address = ""
        self.asked: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open.values():
            writer.close()
        await asyncio.gather(*self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
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
            del self._open[task]
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
        elif fault in ("suited", "unsuited"):
            self.asked[fault] += 1
            await asyncio.sleep(0.1)
            text = "no" if fault == "unsuited" and bad else text
        elif fault == "referee":
            text = preferred(str(body["messages"][-1]["content"]))
        elif fault in ("polite", "curt"):
            text = "yes, please" if fault == "polite" else "no"
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


def preferred(words: str) -> str:
    """What a judge with sense says, who thinks that `yes` is right, and better with `please`."""
    first, second = words.split("[answer A")[1].split("[answer B")
    worth = [("yes" in text) + ("please" in text) for text in (first, second)]
    return json.dumps({"better": "TIE" if worth[0] == worth[1] else "AB"[worth[1] > worth[0]]})


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
                await self.answered(client, model, tenant, answer)

    async def answered(self, client: httpx.AsyncClient, model: str, tenant: str, answer: httpx.Response) -> None:
        """What a caller does with an answer: here nothing."""


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

    async def start(self, model: str, steps: list, analysis: dict | None, **more: object) -> str:
        spec = {"candidate": {"deployment": model}, "steps": steps, "analysis": analysis, **more}
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


@contextmanager
def running(folder: Path, units: Iterable[str]) -> Iterator[World]:
    """A platform of some units with the config and its files in `folder`, until the end."""
    settings = Settings(data_dir=folder / "data", port_base=free_port_base(), config=folder / "headrace.yaml")
    platform = Platform(settings)
    platform.start(units, bound=True)
    try:
        yield World(platform)
    finally:
        platform.stop()
