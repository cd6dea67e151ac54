"""Rollouts over real processes: good candidates promote themselves, harmful ones are rolled back by themselves."""

from __future__ import annotations

import asyncio
import json

import grpc
import psycopg
import pytest
import pytest_asyncio

from headrace_protos.common.v1.chat_pb2 import ContentPart, Message
from headrace_protos.gateway.v1 import messages_pb2, service_pb2_grpc
from tests.integration.live_rollouts import STAYS, STEPS, Load, Upstream, config, running

FAULTS = ("errors", "slow", "empty", "json", "dear", "tenant")
MODELS = ("good", *FAULTS, "killed", "suited", "unsuited", "polite", "curt")
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream():
    made = Upstream()
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    made = config(upstream.address, ("referee", *MODELS))
    made["models"]["referee"] = {"deployment": "referee"}
    made["evals"] = {"golden": {"file": "evals/golden.yaml", "tenant": "dev"}}
    (folder / "headrace.yaml").write_text(json.dumps(made))
    (folder / "evals").mkdir()
    (folder / "labels.jsonl").write_text(LABELS)
    (folder / "evals" / "golden.yaml").write_text(SUITE)
    with running(folder, ["postgres", "schema", "valkey", "gateway", "rollout"]) as world:
        yield world


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
    moves = [entry for entry in told["decisions"] if entry["action"] != "hold"]
    assert [entry["action"] for entry in moves] == ["advance", "advance", "promote"]
    assert "the evaluation golden was passed" in moves[0]["reason"]


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
