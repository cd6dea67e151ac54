"""An answer's text on its way past the checks of the guardrails service, piece by piece.

A policy's checks that `hold` keep a piece back until they have judged it. When all of them `trail`, text flows, and a
bad verdict ends the answer. When the service is away the answer ends where the policy lets nothing pass unjudged, and
goes on where it does.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import headrace_detectors as detectors
from headrace_detectors import Action
from headrace_gateway.guarding.input import Guard
from headrace_gateway.guarding.policy import GuardPolicy
from headrace_gateway.guarding.remote import Verdict
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError

_BREAK = re.compile(r"(?<=[.!?\n])\s+|\n+")
_NOTHING = detectors.Checker(())
_PASSES = Verdict(Action.ALLOW, ())


class FarText:
    """One text (an answer, or the arguments of a tool call) past the remote checks of all policies."""

    def __init__(self, guard: Guard, direction: str) -> None:
        self._guard, self.direction = guard, direction
        self._lines = [_Line(guard, policy, direction) for policy in guard.policies if direction in policy.remote]
        self.withheld = False
        self.rewrite = ""

    async def advance(self, delta: str, *, final: bool) -> str:
        """Take a piece; returns what may go out now, empty once withheld."""
        for line in self._lines:
            delta = await line.advance(delta, final=final)
            if line.withheld:
                self.withheld, self.rewrite = True, line.rewrite
                return ""
        return delta

    async def aclose(self) -> None:
        """Stop whatever is still being judged."""
        for line in self._lines:
            await line.aclose()


class _Line:
    """The remote checks of one policy over one text."""

    def __init__(self, guard: Guard, policy: GuardPolicy, direction: str) -> None:
        self._guard, self._policy, self._direction = guard, policy, direction
        self._remote = policy.remote[direction]
        # What only looks on must not keep anything back.
        self._flows = self._remote.trail or policy.shadow
        self._whole = self._remote.whole or direction == "tool_call"
        self._window = ""
        self._trailing: set[asyncio.Task[Verdict]] = set()
        self.withheld = False
        self.rewrite = ""

    async def advance(self, delta: str, *, final: bool) -> str:
        self._window += delta
        released = delta if self._flows else ""
        while (cut := self._cut(final=final)) and not self.withheld:
            window, self._window = self._window[:cut], self._window[cut:]
            if self._flows:
                self._trailing.add(asyncio.create_task(self._judge(window)))
            else:
                released += self._act(window, await self._judge(window))
        for task in await self._done(wait=final):
            self._act("", task.result())
        return "" if self.withheld else released

    def _cut(self, *, final: bool) -> int:
        if final:
            return len(self._window)
        if self._whole or len(self._window) < self._policy.window_chars:
            return 0
        ends = [found.end() for found in _BREAK.finditer(self._window)]
        return ends[-1] if ends else (self._window.rfind(" ") + 1 or len(self._window))

    async def _judge(self, window: str) -> Verdict:
        try:
            verdict = await self._guard.remote.check(self._policy, self._direction, window, 2)
        except HeadraceError:
            return Verdict(Action.BLOCK, ()) if self._remote.closed else _PASSES
        self._guard.note(self._direction, verdict.findings, shadow=self._policy.shadow)
        return verdict

    def _act(self, window: str, verdict: Verdict) -> str:
        if self._policy.shadow:
            return window
        if verdict.action.withholds:
            self.withheld = True
            self.rewrite = self._policy.rewrite if verdict.action is Action.REWRITE else ""
            if verdict.action is Action.ESCALATE:
                self._guard.escalated(self._direction, verdict.review_id)
            return ""
        masks = [detectors.Extra(found) for found in verdict.findings if found.action is Action.MASK]
        return _NOTHING.check(window, self._guard.session, masks).text if masks and window else window

    async def _done(self, *, wait: bool) -> Sequence[asyncio.Task[Verdict]]:
        if self._trailing and wait:
            await asyncio.wait(self._trailing)
        done = [task for task in self._trailing if task.done()]
        self._trailing.difference_update(done)
        return done

    async def aclose(self) -> None:
        await end(*self._trailing)
        self._trailing.clear()
