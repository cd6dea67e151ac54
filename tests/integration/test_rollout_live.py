"""Rollouts over real processes: good candidates promote themselves, harmful ones are rolled back by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter, defaultdict

import grpc
import httpx
import psycopg
import pytest
import pytest_asyncio

from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message
from headrace_protos.gateway.v1 import messages_pb2, service_pb2_grpc

FAULTS = ("errors", "slow", "empty", "json", "dear", "tenant")
MODELS = ("good", *FAULTS, "killed", "suited", "unsuited", "polite", "curt")
JSON_ASKED = {"type": "json_object"}
STEPS = [{"weight": "30%", "at_least": "2s"}, {"weight": "60%", "at_least": "2s"}, {"weight": "100%", "at_least": "2s"}]
STAYS = [{"weight": "30%", "at_least": "1h"}, {"weight": "100%"}]
ITEMS = 60
SUITE = f"""
items: {json.dumps([{"input": f"Is {number} a number?", "expected": "yes"} for number in range(ITEMS)])}
concurrency: 2
graders: {{right: {{type: exact}}}}
thresholds: {{right: {{at_least: 90%, max_decrease: 10%}}, errors: {{max_increase: 10%}}}}
"""
EVALUATED = [{"evaluate": "golden"}, {"weight": "30%", "at_least": "1s"}, {"weight": "100%"}]
SHADOWED = [{"shadow": "100%", "at_least": "2s"}, {"weight": "30%", "at_least": "1s"}, {"weight": "100%"}]
LABELS = "".join(
    json.dumps({"input": f"Is {number} a number?", "a": "yes", "b": f"no {number}", "prefers": "a"}) + "\n"
    for number in range(40)
)
JUDGED = {
    "errors": None,
    "failures": None,
    "total": None,
    "pairs": {"judge": {"max_decrease": "20%"}},
}
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
        for name in ("steady", "referee", *MODELS)
    }
    # A failed attempt is the caller's: nothing hides what the candidate does.
    models = {name: {"deployment": "steady", "retry": {"attempts": 1}, "breaker": None} for name in MODELS}
    models["referee"] = {"deployment": "referee"}
    evals = {"golden": {"file": "evals/golden.yaml", "tenant": "dev"}}
    tenants = {"dev": {}, "rival": {}}
    return json.dumps({"tenants": tenants, "deployments": deployments, "models": models, "evals": evals})


class Upstream:
    """OpenAI's chat for all deployments; the first part of the path says which fault an answer has."""

    def __init__(self) -> None:
        self.random = random.Random(7)
        self.address = ""
        self.asked: Counter[str] = Counter()
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
    (folder / "evals").mkdir()
    (folder / "labels.jsonl").write_text(LABELS)
    (folder / "evals" / "golden.yaml").write_text(SUITE)
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


@pytest.mark.asyncio(loop_scope="module")
async def test_a_candidate_that_fails_its_evaluation_is_rolled_back_before_anybody_was_on_it(world, upstream):
    id_ = await world.start("unsuited", EVALUATED, None)
    ended = await world.until(id_, "rolled_back")
    assert "the evaluation golden failed" in ended["reason"]
    suite = ended["evaluation"]
    assert (suite["state"], suite["done"], suite["total"]) == ("failed", ITEMS, ITEMS)
    told = await world.explain(id_)
    assert max(line["weight"] for line in told["transitions"]) == 0
    [decision] = [entry for entry in told["decisions"] if entry["action"] == "roll_back"]
    assert any(check["state"] == "beyond" and check["estimate"] < 0 for check in decision["verdicts"])
    assert upstream.asked["unsuited"] == ITEMS, "each item was asked of the candidate once"


@pytest.mark.asyncio(loop_scope="module")
async def test_an_evaluation_goes_on_where_a_killed_controller_was(world, upstream):
    id_ = await world.start("suited", EVALUATED, None)
    async with asyncio.timeout(60), world.admin() as client:
        while ((await client.get(f"/v1/admin/rollouts/{id_}")).json()["evaluation"] or {}).get("done", 0) < 10:
            await asyncio.sleep(0.05)
    restarts = world.platform.status().units["rollout"].restarts
    world.platform.kill("rollout")
    await asyncio.to_thread(world.platform.wait_ready, "rollout", restarts=restarts + 1)
    ended = await world.until(id_, "promoted")
    assert ended["evaluation"]["state"] == "passed"
    # What was under way at the kill is asked again, at most as many as were asked at one time.
    assert ITEMS <= upstream.asked["suited"] <= ITEMS + 2
    told = await world.explain(id_)
    actions = [entry["action"] for entry in told["decisions"] if entry["action"] != "hold"]
    assert actions == ["advance", "advance", "promote"]
    assert "the evaluation golden was passed" in told["decisions"][0]["reason"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_judge_of_live_answers_lets_a_better_candidate_pass_and_has_a_worse_one_rolled_back(world, tenants):
    shadow = {"concurrency": 16, "judge": {"model": "referee", "labels": "labels.jsonl", "tenant": "dev"}}
    async with Load(world, tenants) as load:
        ids = {}
        for model in ("polite", "curt"):
            load.begin(model)
            ids[model] = await world.start(model, SHADOWED, JUDGED, shadow=shadow)
        ended = {"curt": await world.until(ids["curt"], "rolled_back")}
        ended["polite"] = await world.until(ids["polite"], "promoted")
    assert "beyond its margin: pairs.judge" in ended["curt"]["reason"]
    told = {model: await world.explain(id_) for model, id_ in ids.items()}
    assert max(line["weight"] for line in told["curt"]["transitions"]) == 0, "nobody was on it"
    assert load.seen["curt", "candidate"].total() == 0
    advance = next(entry for entry in told["polite"]["decisions"] if entry["action"] == "advance")
    [verdict] = advance["verdicts"]
    assert (verdict["metric"], verdict["state"]) == ("pairs.judge", "within")
    assert "right in 40 and wrong in 0 of 40 comparisons that people decided" in verdict["reason"]
    assert verdict["estimate"] < 0, "the candidate is better"
    async with await psycopg.AsyncConnection.connect(world.dsn) as connection:
        rows = await connection.execute(
            "SELECT rollout_id, suite, state, total FROM rollout.evaluations WHERE rollout_id = ANY(%s)",
            ([*ids.values()],),
        )
        kept = {row[0]: row[1:] for row in await rows.fetchall()}
        assert kept == dict.fromkeys(ids.values(), ("judge", "passed", 40))
        found = await connection.execute(
            "SELECT shadow, count(*) FROM gateway.ledger WHERE deployment = 'referee' GROUP BY 1"
        )
        asked = dict(await found.fetchall())
        assert asked[False] == 2 * 40 * len(ids), "each label in both orders, on the bill of the judge's tenant"
        assert asked[True] > 0, "live answers on nobody's"


@pytest.mark.asyncio(loop_scope="module")
async def test_no_key_chooses_an_arm(world, tenants):
    body = {"model": "good", "messages": [{"role": "user", "content": "hello"}]}
    chosen = body | {"headrace": {"rollout": "1", "arm": "candidate"}}
    async with world.admin() as client:
        answer = await client.post("/v1/chat/completions", json=chosen)
        assert answer.status_code == 400, "over HTTP there is no such field at all"
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{world.platform.port('gateway-grpc')}")
    stub = service_pb2_grpc.GatewayServiceStub(channel)
    message = Message(role="user", parts=[ContentPart(text="hello")])
    options = messages_pb2.HeadraceOptions(rollout="1", arm="candidate")
    request = messages_pb2.GenerateRequest(model="good", messages=[message], headrace=options)
    for key in (tenants["dev"], world.admin_key):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Generate(request, metadata=(("authorization", f"Bearer {key}"),))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await channel.close()
