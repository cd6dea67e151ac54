"""`/v1/admin/rollouts` and `/v1/admin/config`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import Nothing, decode, flag, query
from headrace_gateway.http_api.router import Route
from headrace_gateway.http_api.values import time_text
from headrace_gateway.ports import Services
from headrace_protos.rollout.v1 import messages_pb2 as pb

_MAX_BODY = 1_048_576


class NewRollout(Struct, forbid_unknown_fields=True):
    """`POST /v1/admin/rollouts`: a model, and an entry of the config's `rollouts:` section."""

    model: Annotated[str, Meta(min_length=1)]
    spec: dict[str, Any]
    queue: bool = False


class Abort(Struct, forbid_unknown_fields=True):
    """`POST /v1/admin/rollouts/{id}:abort`."""

    reason: Annotated[str, Meta(max_length=1024)] = ""


class Approve(Struct, forbid_unknown_fields=True):
    """`POST /v1/admin/rollouts/{id}:approve`: the step that is approved, from 0."""

    step: Annotated[int, Meta(ge=0, le=1000)]


_approve = msgspec.json.Decoder(Approve)
_LIST = frozenset({"all"})
_new_rollout = msgspec.json.Decoder(NewRollout)
_abort = msgspec.json.Decoder(Abort)
_nothing = msgspec.json.Decoder(Nothing)


class AdminApi:
    """Rollouts and the config's version, for admins.

    Args:
        services: passes rollouts on.
        config_version: hashes of the active and the pending snapshot, and why the newest file was refused.
    """

    def __init__(self, services: Services, config_version: Callable[[], tuple[str, str, str]]) -> None:
        self._services = services
        self._config_version = config_version

    def routes(self) -> list[Route]:
        """The routes of this part."""
        rollouts = "/v1/admin/rollouts"
        return [
            Route("GET", rollouts, self.list, admin=True, query=_LIST),
            Route("POST", rollouts, self.start, admin=True, body=NewRollout),
            Route("POST", f"{rollouts}/{{id}}:promote", self.promote, admin=True, body=Nothing, body_optional=True),
            Route("POST", f"{rollouts}/{{id}}:abort", self.abort, admin=True, body=Abort, body_optional=True),
            Route("POST", f"{rollouts}/{{id}}:approve", self.approve, admin=True, body=Approve),
            Route("GET", f"{rollouts}/{{id}}/explanation", self.explain, admin=True),
            Route("GET", f"{rollouts}/{{id}}", self.get, admin=True),
            Route("GET", "/v1/admin/config", self.config, admin=True),
        ]

    async def list(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Rollouts that run; with `?all=true` those that have ended too."""
        ended = flag(query(request.query, _LIST), "all")
        found = await self._services.call(visit.ctx, "rollout", "ListRollouts", pb.ListRolloutsRequest(all=ended))
        return json_response({"object": "list", "data": [_rollout(entry) for entry in found.rollouts]}, visit.ctx)

    async def get(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """One of them."""
        return await self._one(visit, "GetRollout", pb.GetRolloutRequest(id=parameters["id"]))

    async def start(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Begin a rollout beside the config file."""
        body = decode(_new_rollout, await request.body(_MAX_BODY))
        spec = msgspec.json.encode(body.spec).decode()
        return await self._one(visit, "Start", pb.StartRequest(model=body.model, spec_json=spec, queue=body.queue), 201)

    async def approve(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Let a step go on that waits for a person."""
        step = decode(_approve, await request.body(_MAX_BODY)).step
        return await self._one(visit, "Approve", pb.ApproveRequest(id=parameters["id"], step=step))

    async def explain(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """How it came where it is: transitions, decisions with their numbers, and the numbers over time."""
        found = await self._services.call(visit.ctx, "rollout", "Explain", pb.ExplainRequest(id=parameters["id"]))
        return json_response(_explanation(found), visit.ctx)

    async def promote(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Move on to 100% at once."""
        if raw := await request.body(_MAX_BODY):
            decode(_nothing, raw)
        return await self._one(visit, "Promote", pb.PromoteRequest(id=parameters["id"]))

    async def abort(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Go back to the baseline."""
        raw = await request.body(_MAX_BODY)
        reason = decode(_abort, raw).reason if raw else ""
        return await self._one(visit, "Abort", pb.AbortRequest(id=parameters["id"], reason=reason))

    async def config(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Which config is served."""
        active, pending, error = self._config_version()
        return json_response({"active": active, "pending": pending, "error": error}, visit.ctx)

    async def _one(self, visit: Visit, method: str, request: Any, status: int = 200) -> Response:
        return json_response(
            _rollout(await self._services.call(visit.ctx, "rollout", method, request)), visit.ctx, status
        )


def _rollout(found: pb.Rollout) -> dict[str, Any]:
    return {
        "id": found.id,
        "model": found.model,
        "state": found.state,
        "step": found.step,
        "steps": found.steps,
        "weight": found.weight,
        "shadow": found.shadow,
        "holds": found.holds,
        "served_s": round(found.served_s, 3),
        "verdicts": [_verdict(verdict) for verdict in found.verdicts],
        "evaluation": _evaluation(found.evaluation) if found.HasField("evaluation") else None,
        "spec": msgspec.Raw(found.spec_json.encode()) if found.spec_json else None,
        "reason": found.reason,
        "source": found.source,
        "created_at": time_text(found, "created_at"),
        "step_started_at": time_text(found, "step_started_at"),
    }


def _evaluation(found: pb.Evaluation) -> dict[str, Any]:
    return {
        "suite": found.suite,
        "step": found.step,
        "state": found.state,
        "done": found.done,
        "total": found.total,
        "why": found.why,
        "checks": [_verdict(check) for check in found.checks],
    }


_NUMBERS = ("estimate", "low", "high", "margin")


def _verdict(found: pb.Verdict) -> dict[str, Any]:
    return {
        "metric": found.metric,
        "state": found.state,
        **_numbers(found),
        "alpha": found.alpha,
        "evidence": found.evidence,
        "n_baseline": found.n_baseline,
        "n_candidate": found.n_candidate,
        "reason": found.reason,
        "paired": found.paired,
    }


def _numbers(found: pb.Verdict | pb.Point) -> dict[str, float | None]:
    return {name: getattr(found, name) if found.HasField(name) else None for name in _NUMBERS}


def _explanation(found: pb.Explanation) -> dict[str, Any]:
    return {
        "rollout": _rollout(found.rollout),
        "transitions": [
            {
                "at": time_text(line, "at"),
                "state": line.state,
                "step": line.step,
                "weight": line.weight,
                "reason": line.reason,
                "actor": line.actor,
            }
            for line in found.transitions
        ],
        "decisions": [
            {
                "at": time_text(decision, "at"),
                "step": decision.step,
                "action": decision.action,
                "reason": decision.reason,
                "verdicts": [_verdict(verdict) for verdict in decision.verdicts],
            }
            for decision in found.decisions
        ],
        "points": [
            {"at": time_text(point, "at"), "metric": point.metric, "state": point.state, **_numbers(point)}
            for point in found.points
        ],
    }
