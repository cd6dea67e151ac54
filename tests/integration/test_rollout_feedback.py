"""What people say of answers, through a gateway and tracing, rolls candidates back, holds them, or lets them go on."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import httpx
import pytest
import pytest_asyncio

from tests.integration.live_rollouts import STAYS, STEPS, Load, Upstream, config, running

ANALYSIS = {
    "errors": None,
    "failures": None,
    "total": None,
    "scores": {"feedback": {"max_decrease": "20%"}},
}


class People(Load):
    """Callers who say what they think of each answer: good where it says `yes`, bad where it does not.

    `said` counts what the platform took, by model, arm and score. Of the candidates of models in `silent` they say
    nothing.
    """

    silent: frozenset[str] = frozenset()

    async def __aenter__(self) -> People:
        self.said: Counter[tuple[str, str, int]] = Counter()
        self.refused: Counter[int] = Counter()
        return self

    async def answered(self, client: httpx.AsyncClient, model: str, tenant: str, answer: httpx.Response) -> None:
        arm, trace_id = answer.headers["x-headrace-arm"], answer.headers["x-headrace-trace-id"]
        if model in self.silent and arm == "candidate":
            return
        score = 1 if "yes" in answer.json()["choices"][0]["message"]["content"] else -1
        if await self._say(client, tenant, trace_id, score) == 201:
            self.said[model, arm, score] += 1
        # a team cannot judge the answers of another one
        [other] = [name for name in self.tenants if name != tenant]
        self.refused[await self._say(client, other, trace_id, -score, least=404)] += 1

    async def _say(self, client: httpx.AsyncClient, tenant: str, trace_id: str, score: int, least: int = 201) -> int:
        """The status, once it is not that the trace is not stored yet."""
        headers = {"authorization": f"Bearer {self.tenants[tenant]}"}
        async with asyncio.timeout(60):
            while True:
                body = {"trace_id": trace_id, "score": score}
                answer = await client.post("/v1/feedback", json=body, headers=headers)
                if answer.status_code != 404 or least == 404:
                    return answer.status_code
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    folder, upstream = tmp_path_factory.mktemp("feedback"), Upstream()
    await upstream.start()
    (folder / "headrace.yaml").write_text(json.dumps(config(upstream.address, ("polite", "curt", "good"))))
    try:
        with running(folder, ["postgres", "schema", "valkey", "tracing", "gateway", "rollout"]) as world:
            yield world
    finally:
        await upstream.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenants(world):
    return {tenant: await world.key(tenant) for tenant in ("dev", "rival")}


@pytest.mark.asyncio(loop_scope="module")
async def test_what_people_say_rolls_a_worse_candidate_back_and_lets_a_good_one_go_on(world, tenants):
    async with People(world, tenants) as people:
        ids = {}
        for model, steps in (("curt", STAYS), ("polite", STEPS)):
            people.begin(model)
            ids[model] = await world.start(model, steps, ANALYSIS)
        ended = {"curt": await world.until(ids["curt"], "rolled_back")}
        async with asyncio.timeout(60):
            while people.quiet["curt"] < 30:
                await asyncio.sleep(0.2)
        ended["polite"] = await world.until(ids["polite"], "promoted")
    told = {model: await world.explain(id_) for model, id_ in ids.items()}
    assert "beyond its margin: scores.feedback" in ended["curt"]["reason"]
    decisions = {model: [one for one in told[model]["decisions"] if one["action"] != "hold"] for model in ids}
    assert [one["action"] for one in decisions["polite"]] == ["advance", "advance", "promote"]
    assert [one["action"] for one in decisions["curt"]] == ["roll_back"]
    for model, states in {"polite": ("within", "within"), "curt": ("beyond",)}.items():
        for decision, state in zip(decisions[model], states, strict=False):
            [verdict] = decision["verdicts"]
            assert (verdict["metric"], verdict["state"]) == ("scores.feedback", state)
            assert 0 < verdict["n_candidate"] <= _of(people, model, "candidate")
            assert 0 < verdict["n_baseline"] <= _of(people, model, "baseline")
    assert people.said["curt", "candidate", -1] and not people.said["curt", "candidate", 1]
    assert people.said["curt", "baseline", 1] and not people.said["curt", "baseline", -1]
    assert set(people.refused) == {404}, "each team speaks of its own answers alone"
    async with world.admin() as client:
        asked = {"rollout": ids["curt"], "arm": "candidate", "max_feedback": "-1", "limit": "1000"}
        found = (await client.get("/v1/traces", params=asked)).json()["data"]
    assert len(found) == people.said["curt", "candidate", -1], "what was judged can be read"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_candidate_of_which_nobody_says_anything_is_held_and_then_rolled_back(world, tenants):
    async with People(world, tenants) as people:
        people.silent = frozenset({"good"})
        people.begin("good")
        id_ = await world.start("good", STEPS, ANALYSIS | {"missing_after": "5s", "missing_limit": "3s"})
        ended = await world.until(id_, "rolled_back")
    assert "nothing was known of scores.feedback" in ended["reason"]
    assert people.said["good", "baseline", 1] > 0
    told = await world.explain(id_)
    assert max(line["weight"] for line in told["transitions"]) == 3000, "it never left its first step"


def _of(people: People, model: str, arm: str) -> int:
    return sum(count for (of, on, _), count in people.said.items() if (of, on) == (model, arm))
