"""The guardrails service, as a request's policies ask it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from headrace_detectors import Action, Finding
from headrace_gateway.context import RequestContext
from headrace_gateway.guarding.policy import GuardPolicy
from headrace_gateway.ports import Envelope, envelope
from headrace_kit.errors import NotReady
from headrace_protos.guardrails.v1 import messages_pb2 as pb


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the service says of a text; `failed` when a check without which nothing passes gave no verdict."""

    action: Action
    findings: Sequence[Finding]
    review_id: str = ""


class Remote(Protocol):
    """Asks for one request."""

    async def check(self, policy: GuardPolicy, direction: str, text: str, from_tier: int) -> Verdict:
        """Judge a text by the checks of a policy from a tier on.

        Raises:
            HeadraceError: the service is away, too slow, or refuses.
        """


class Guardrails(Protocol):
    """The guardrails service."""

    async def check(self, request: pb.CheckRequest, sent: Envelope) -> pb.CheckResponse:
        """Judge a text. Raises HeadraceError."""

    async def record(self, request: pb.RecordDecisionsRequest) -> None:
        """Add decisions to the audit. Raises HeadraceError."""


class _Nowhere:
    """Where there is no service to ask."""

    async def check(self, policy: GuardPolicy, direction: str, text: str, from_tier: int) -> Verdict:
        raise NotReady("there is no guardrails service")


NOWHERE: Remote = _Nowhere()


class RequestRemote:
    """Fulfils `Remote` for a request."""

    def __init__(self, service: Guardrails, ctx: RequestContext) -> None:
        self._service, self._ctx = service, ctx

    async def check(self, policy: GuardPolicy, direction: str, text: str, from_tier: int) -> Verdict:
        """See `Remote`."""
        ctx = self._ctx
        wanted = policy.remote.get(direction)
        limit_s = wanted.timeout_s if wanted is not None else _QUEUE_S
        request = pb.CheckRequest(
            policy=policy.name,
            direction=f"DIRECTION_{direction.upper()}",
            text=text,
            from_tier=from_tier,
            trace_id=ctx.trace_id,
        )
        with ctx.stage("guardrails Check", **{"headrace.guard.direction": direction}) as hop:
            sent = envelope(ctx, hop)
            try:
                async with asyncio.timeout(limit_s):
                    answer = await self._service.check(request, replace(sent))
            except TimeoutError as error:
                raise NotReady("the guardrails service did not answer in time") from error
        findings = [
            Finding(one.check, one.kind, one.start, one.end, one.score, _ACTIONS[one.action]) for one in answer.findings
        ]
        return Verdict(_ACTIONS.get(answer.would, Action.ALLOW), findings, answer.review_id)


_QUEUE_S = 5.0
_ACTIONS: dict[int, Action] = {pb.Action.Value(f"ACTION_{action.name}"): action for action in Action}
