"""`POST /v1/guardrails/check`: passed on to guardrails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import decode
from headrace_gateway.http_api.router import Route
from headrace_gateway.ports import Services
from headrace_protos.guardrails.v1 import messages_pb2 as pb

_MAX_BODY = 8 * 1024 * 1024


class Check(Struct, forbid_unknown_fields=True):
    """A text to judge."""

    policy: Annotated[str, Meta(min_length=1, max_length=63)]
    text: str
    direction: Literal["input", "retrieved", "tool_call", "tool_result", "output"] = "input"


_check = msgspec.json.Decoder(Check)


class GuardrailsApi:
    """Checks on request."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [Route("POST", "/v1/guardrails/check", self.check, body=Check)]

    async def check(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Judge a text by a policy."""
        body = decode(_check, await request.body(_MAX_BODY))
        sent = pb.CheckRequest(policy=body.policy, direction=f"DIRECTION_{body.direction.upper()}", text=body.text)
        verdict = await self._services.call(visit.ctx, "guardrails", "Check", sent)
        findings = [
            {
                "check": found.check,
                "kind": found.kind,
                "start": found.start,
                "end": found.end,
                "score": found.score,
                "action": _action(found.action),
            }
            for found in verdict.findings
        ]
        return json_response({"action": _action(verdict.action), "text": verdict.text, "findings": findings}, visit.ctx)


def _action(action: int) -> str:
    return pb.Action.Name(action).removeprefix("ACTION_").lower()
