"""Decisions that were made in this process, on their way to the audit of the guardrails service."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import uuid_utils

from headrace_detectors import Action, Finding
from headrace_gateway.context import RequestContext
from headrace_gateway.guarding.policy import GuardPolicy
from headrace_gateway.guarding.remote import Guardrails, nowhere
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError
from headrace_protos.guardrails.v1 import messages_pb2 as pb

_MOST_WAITING = 20_000
_BATCH = 500
_PAUSE_S = 0.5


class Decisions:
    """Sends decisions soon after they were made; while the service is away up to 20,000 wait.

    Those of requests on a candidate release go to it, and to the stable one where it does not take them.

    Args:
        service: the guardrails service.
        lost: counts those that could not be kept.
        canary: its candidate release, where there is one.
    """

    def __init__(
        self, service: Guardrails, lost: Callable[[], None], canary: Callable[[], Guardrails | None] = nowhere
    ) -> None:
        self._service, self._lost, self._canary = service, lost, canary
        self._waiting: deque[tuple[bool, pb.Decision]] = deque()
        self._task: asyncio.Task[None] | None = None

    def note(
        self, ctx: RequestContext, policy: GuardPolicy, direction: str, action: Action, findings: Sequence[Finding]
    ) -> None:
        """Tell of a decision that found something. Never waits."""
        if not findings:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._lost()
            return
        decision = pb.Decision(
            id=str(uuid_utils.uuid7()),
            policy=policy.name,
            version=policy.version,
            direction=f"DIRECTION_{direction.upper()}",
            action=f"ACTION_{action.name}",
            shadow=policy.shadow,
            tenant=ctx.identity.tenant,
            user=ctx.identity.user,
            request_id=ctx.request_id,
            trace_id=ctx.trace_id,
            findings=[
                pb.Finding(
                    check=one.check,
                    kind=one.kind,
                    start=one.start,
                    end=one.end,
                    score=one.score,
                    action=f"ACTION_{one.action.name}",
                )
                for one in findings
            ],
        )
        decision.at.FromNanoseconds(ctx.wall_ns())
        self._waiting.append((ctx.trial is not None and ctx.trial.by_candidate, decision))

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Send what waits, once, and end."""
        await end(self._task)
        with suppress(HeadraceError):
            while self._waiting:
                await self._send()
        for _ in self._waiting:
            self._lost()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE_S)
            with suppress(HeadraceError):
                while self._waiting:
                    await self._send()

    async def _send(self) -> None:
        batch = [self._waiting[index] for index in range(min(_BATCH, len(self._waiting)))]
        # What is taken off only when it is written cannot be lost; sent twice, it is written once.
        left = batch
        if tried := [one for on_candidate, one in batch if on_candidate]:
            candidate = self._canary()
            with suppress(HeadraceError):
                if candidate is not None:
                    await candidate.record(pb.RecordDecisionsRequest(decisions=tried))
                    left = [entry for entry in batch if not entry[0]]
        if left:
            await self._service.record(pb.RecordDecisionsRequest(decisions=[one for _, one in left]))
        for _ in batch:
            self._waiting.popleft()
