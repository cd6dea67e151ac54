"""The verdict on a release as other tools read it, and the example that reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
import yaml

from headrace_gateway.http_api.admin_verdicts import VerdictsApi
from headrace_gateway.http_api.asgi import AsgiFace
from headrace_protos.rollout.v1 import messages_pb2 as pb

EXAMPLE = Path(__file__).parents[3] / "charts" / "examples" / "argo-analysis.yaml"
ADMIN = {"authorization": "Bearer bootstrap-secret"}
URL = "/v1/admin/services/gateway/verdict"


def rollout(state: str, *verdicts: str, release: str = "2.0", model: str = "service/gateway") -> pb.Rollout:
    spec = json.dumps({"candidate": {"release": release}, "steps": [{"weight": "100%"}]})
    judged = [pb.Verdict(metric=f"m{number}", state=one, evidence=0.5) for number, one in enumerate(verdicts)]
    return pb.Rollout(id="r1", model=model, state=state, spec_json=spec, verdicts=judged, reason="why", weight=500)


class Rollouts:
    """The rollout service, as far as it is asked."""

    def __init__(self, *rollouts: pb.Rollout) -> None:
        self.rollouts = rollouts

    async def call(self, ctx, service, method, request, *, timeout_s=30.0):
        assert (service, method, request.all) == ("rollout", "ListRollouts", True)
        return pb.ListRolloutsResponse(rollouts=self.rollouts)


async def ask(rig, *rollouts: pb.Rollout, query: str = "?release=2.0", headers=ADMIN) -> httpx.Response:
    application = rig.application(*VerdictsApi(Rollouts(*rollouts)).routes())
    transport = httpx.ASGITransport(AsgiFace(application))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        return await http.get(URL + query, headers=headers)


def measured(answer: httpx.Response) -> tuple[bool, bool]:
    """Whether the example's success and failure conditions hold of an answer of ours."""
    [template] = yaml.safe_load_all(EXAMPLE.read_text())
    [metric] = [one for one in template["spec"]["metrics"] if one["name"] == "verdict"]
    web = metric["provider"]["web"]
    assert web["url"].replace("{{args.url}}", "").split("?")[0] == URL
    result = answer.json()[re.fullmatch(r"\{\$\.(\w+)\}", web["jsonPath"])[1]]
    sides = [
        re.fullmatch(r'result == "(\w+)"', metric[condition])[1]
        for condition in ("successCondition", "failureCondition")
    ]
    return result == sides[0], result == sides[1]


@pytest.mark.parametrize(
    ("found", "success", "failure"),
    [
        (rollout("running", "within", "within"), True, False),
        (rollout("promoted"), True, False),
        (rollout("running", "within", "beyond"), False, True),
        (rollout("rolled_back", "within"), False, True),
        (rollout("aborted"), False, True),
        (rollout("running", "within", "undecided"), False, False),
        (rollout("running", "missing"), False, False),
        (rollout("running"), False, False),
        (rollout("pending"), False, False),
    ],
)
async def test_an_answer_is_one_of_three_as_argo_reads_it(rig, found, success, failure):
    answer = await ask(rig, found)
    assert answer.status_code == 200
    assert measured(answer) == (success, failure)


async def test_it_is_the_newest_rollout_of_this_release_and_has_its_numbers(rig):
    other, model = rollout("rolled_back", release="1.9"), rollout("rolled_back", model="assistant")
    answer = (await ask(rig, other, model, rollout("running", "within"), rollout("aborted"))).json()
    assert (answer["verdict"], answer["rollout"], answer["weight"], answer["reason"]) == ("success", "r1", 500, "why")
    [metric] = answer["metrics"]
    assert (metric["metric"], metric["state"], metric["evidence"]) == ("m0", "within", 0.5)


async def test_a_release_that_nobody_asked_about_is_inconclusive(rig):
    answer = await ask(rig, rollout("promoted", release="1.9"))
    assert measured(answer) == (False, False)
    assert answer.json()["reason"] == "no rollout of this release was started"


async def test_it_needs_a_release_and_an_admin(rig):
    refused = await ask(rig, query="")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "release")
    assert (await ask(rig, headers={"authorization": "Bearer hr_dev"})).status_code == 403


def test_the_example_starts_a_rollout_that_the_config_takes():
    from headrace_kit.config import Config

    [template] = yaml.safe_load_all(EXAMPLE.read_text())
    [started] = [one for one in template["spec"]["metrics"] if one["name"] == "started"]
    body = json.loads(started["provider"]["web"]["body"].replace("{{args.release}}", "2.0"))
    config = Config.model_validate({"rollouts": {body["model"]: body["spec"]}})
    assert config.rollouts["service/gateway"].candidate == {"release": "2.0"}
