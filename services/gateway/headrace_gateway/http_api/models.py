"""`GET /v1/models`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answer_schema import ModelAnswer, ModelsAnswer
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import query
from headrace_gateway.http_api.router import Route
from headrace_gateway.routing.plan import TASKS, ModelPlan


def model_routes() -> list[Route]:
    """The routes of this part."""
    return [
        Route("GET", "/v1/models", list_models, answer=ModelsAnswer),
        Route("GET", "/v1/models/{id*}", get_model, answer=ModelAnswer),
    ]


async def list_models(visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
    """The models that the caller's tenant may use."""
    query(request.query, frozenset())
    table = visit.ctx.table
    models = [_model(plan, table.created) for plan in table.allowed(visit.ctx.identity.tenant)]
    return json_response({"object": "list", "data": models}, visit.ctx)


async def get_model(visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
    """One of them."""
    table = visit.ctx.table
    return json_response(_model(table.model(parameters["id"], visit.ctx.identity.tenant), table.created), visit.ctx)


def _model(plan: ModelPlan, created: int) -> dict[str, Any]:
    return {"id": plan.name, "object": "model", "created": created, "owned_by": "headrace", "task": TASKS[plan.task]}
