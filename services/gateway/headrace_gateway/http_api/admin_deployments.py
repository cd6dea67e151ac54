"""`/v1/admin/deployments`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from headrace_gateway.admission.door import Visit
from headrace_gateway.deployments import Action, DeploymentAdmin
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import Nothing, decode, flag, query
from headrace_gateway.http_api.router import Handler, Route
from headrace_protos.gateway.v1 import messages_pb2 as pb

_MAX_BODY = 65_536
_PATH = "/v1/admin/deployments"


_WAIT = frozenset({"wait"})
_nothing = msgspec.json.Decoder(Nothing)


class DeploymentsApi:
    """Deployments, for admins."""

    def __init__(self, admin: DeploymentAdmin) -> None:
        self._admin = admin

    def routes(self) -> list[Route]:
        """The routes of this part."""
        acting = [
            Route(
                "POST",
                f"{_PATH}/{{name}}:{action}",
                self._acting(action),
                admin=True,
                body=Nothing,
                body_optional=True,
                query=_WAIT,
            )
            for action in get_args(Action)
        ]
        return [
            Route("GET", _PATH, self.list, admin=True),
            *acting,
            Route("GET", f"{_PATH}/{{name}}", self.get, admin=True),
        ]

    async def list(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """All of them, with state and load."""
        query(request.query, frozenset())
        found = await self._admin.list(visit.ctx)
        return json_response({"object": "list", "data": [_deployment(entry) for entry in found]}, visit.ctx)

    async def get(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """One of them."""
        query(request.query, frozenset())
        [found] = await self._admin.list(visit.ctx, [parameters["name"]])
        return json_response(_deployment(found), visit.ctx)

    def _acting(self, action: Action) -> Handler:
        """Does something with a deployment; `?wait=true` answers when it is done, else 202 with the state."""

        async def act(visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
            wait = flag(query(request.query, _WAIT), "wait")
            if raw := await request.body(_MAX_BODY):
                decode(_nothing, raw)
            now = await self._admin.act(visit.ctx, action, parameters["name"], wait=wait)
            return json_response(_deployment(now), visit.ctx, 200 if wait else 202)

        act.__doc__ = f"{action.capitalize()} a deployment; `?wait=true` answers when it is done."
        return act


def _deployment(found: pb.Deployment) -> dict[str, Any]:
    return {
        "name": found.name,
        "engine": found.engine,
        "model": found.model,
        "state": found.state,
        "detail": found.detail,
        "tasks": list(found.tasks),
        "context_tokens": found.context_tokens,
        "adapters": list(found.adapters),
        "accepts": list(found.accepts),
        "version": found.version,
        "load_error": found.load_error or None,
        "load": _load(found.load) if found.HasField("load") else None,
    }


def _load(load: pb.DeploymentLoad) -> dict[str, Any]:
    return {
        "waiting": load.waiting,
        "running": load.running,
        "slots": load.slots,
        "tokens_per_second": load.tokens_per_second,
        "first_token_ms": load.first_token_ms,
        "output_token_ms": load.output_token_ms,
        "wait_ms": load.wait_ms,
        "kv_cache_used": load.kv_cache_used if load.HasField("kv_cache_used") else None,
    }
