"""The guardrails service, as a request's policies ask it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from headrace_detectors import Action, Finding
from headrace_gateway.arms.guardrails import Trial
from headrace_gateway.arms.split import BASELINE
from headrace_gateway.context import RequestContext
from headrace_gateway.guarding.policy import GuardPolicy
from headrace_gateway.ports import Envelope, envelope
from headrace_kit.errors import DeadlineExceeded, HeadraceError, NotReady
from headrace_kit.telemetry.requests import Hop
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


def nowhere() -> Guardrails | None:
    """Where there is no candidate release of the service."""
    return None


class RequestRemote:
    """Fulfils `Remote` for a request.

    While a new release is tried, the request's arm says which one is asked. A candidate that gives no verdict is asked
    no more by this request: the stable release judges in its place, as if it had been asked from the first.

    Args:
        service: the stable release.
        ctx: the request.
        canary: the candidate.
        policies: all that hold for the request: what one gives to a person has to pass the others too.
    """

    def __init__(
        self,
        service: Guardrails,
        ctx: RequestContext,
        canary: Callable[[], Guardrails | None] = nowhere,
        policies: Sequence[GuardPolicy] = (),
    ) -> None:
        self._service, self._ctx, self._canary = service, ctx, canary
        self._policies = policies

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
            also=[
                other.name
                for other in self._policies
                if other is not policy and not other.shadow and other.looks_at(direction)
            ],
        )
        with ctx.stage("guardrails Check", **{"headrace.guard.direction": direction}) as hop:
            answer = await self._asked(request, hop, limit_s)
        findings = [
            Finding(one.check, one.kind, one.start, one.end, one.score, _ACTIONS[one.action]) for one in answer.findings
        ]
        return Verdict(_ACTIONS.get(answer.would, Action.ALLOW), findings, answer.review_id)

    async def _asked(self, request: pb.CheckRequest, hop: Hop, limit_s: float) -> pb.CheckResponse:
        trial = self._ctx.trial
        candidate = self._canary() if trial is not None and trial.by_candidate else None
        if trial is not None and candidate is not None:
            with suppress(HeadraceError):
                answer = await self._tried(candidate, request, hop, limit_s, trial)
                if not answer.failures:
                    return answer
            hop.attributes["headrace.guard.stood_in"] = True
            trial = None
        if trial is not None and trial.arm == BASELINE:
            return await self._tried(self._service, request, hop, limit_s, trial)
        return await self._once(self._service, request, hop, limit_s)

    async def _tried(
        self, service: Guardrails, request: pb.CheckRequest, hop: Hop, limit_s: float, trial: Trial
    ) -> pb.CheckResponse:
        """The answer of the arm's own release; how it went is noted."""
        try:
            answer = await self._once(service, request, hop, limit_s)
        except HeadraceError as error:
            late = isinstance(error, DeadlineExceeded) or isinstance(error.__cause__, TimeoutError)
            trial.failed("timeout" if late else "error")
            raise
        trial.answered(answer.release)
        if answer.failures:
            trial.failed("error")
        return answer

    async def _once(self, service: Guardrails, request: pb.CheckRequest, hop: Hop, limit_s: float) -> pb.CheckResponse:
        try:
            async with asyncio.timeout(limit_s):
                return await service.check(request, envelope(self._ctx, hop))
        except TimeoutError as error:
            raise NotReady("the guardrails service did not answer in time") from error


_QUEUE_S = 5.0
_ACTIONS: dict[int, Action] = {pb.Action.Value(f"ACTION_{action.name}"): action for action in Action}
