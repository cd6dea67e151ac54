"""`/v1/admin/services/{service}/verdict`: what the analysis says of a release, for tools of others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import query
from headrace_gateway.http_api.router import Route
from headrace_gateway.ports import Services
from headrace_kit.errors import BadInput
from headrace_protos.rollout.v1 import messages_pb2 as pb

SUCCESS, FAILURE, INCONCLUSIVE = "success", "failure", "inconclusive"
_BAD = frozenset({"rolled_back", "aborted", "superseded"})
_QUERY = frozenset({"release"})


class VerdictsApi:
    """A small answer that a metric provider reads by a path, such as Argo Rollouts' `web`.

    Args:
        services: asks the rollout service.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [Route("GET", "/v1/admin/services/{service}/verdict", self.get, admin=True, query=_QUERY)]

    async def get(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """The verdict on the newest rollout of a release; a release without one is `inconclusive`."""
        release = query(request.query, _QUERY).get("release", "")
        if not release:
            raise BadInput("release is missing: the tag or digest of the candidate's image", param="release")
        found = await self._services.call(visit.ctx, "rollout", "ListRollouts", pb.ListRolloutsRequest(all=True))
        target = f"service/{parameters['service']}"
        mine = [one for one in found.rollouts if one.model == target and _release(one) == release]
        return json_response(answer(release, mine[0] if mine else None), visit.ctx)


def answer(release: str, rollout: pb.Rollout | None) -> dict[str, Any]:
    """What is told of a release: `verdict`, why, and the numbers of each metric.

    `failure`: it was rolled back or ended otherwise, or a metric is beyond its margin. `success`: it was promoted, or
    every metric is shown to be within its margin. Else `inconclusive`.
    """
    if rollout is None:
        reason = "no rollout of this release was started"
        return {
            "verdict": INCONCLUSIVE,
            "release": release,
            "rollout": "",
            "reason": reason,
            "weight": 0,
            "metrics": [],
        }
    states = [verdict.state for verdict in rollout.verdicts]
    verdict = INCONCLUSIVE
    if rollout.state in _BAD or "beyond" in states:
        verdict = FAILURE
    elif rollout.state == "promoted" or (states and all(state == "within" for state in states)):
        verdict = SUCCESS
    return {
        "verdict": verdict,
        "release": release,
        "rollout": rollout.id,
        "state": rollout.state,
        "reason": rollout.holds or rollout.reason,
        "weight": rollout.weight,
        "metrics": [
            {
                "metric": one.metric,
                "state": one.state,
                "estimate": one.estimate if one.HasField("estimate") else None,
                "margin": one.margin if one.HasField("margin") else None,
                "evidence": one.evidence,
                "n_baseline": one.n_baseline,
                "n_candidate": one.n_candidate,
            }
            for one in rollout.verdicts
        ],
    }


def _release(rollout: pb.Rollout) -> str:
    candidate = json.loads(rollout.spec_json or "{}").get("candidate", {})
    return str(candidate.get("release", ""))
