"""A text that is judged while it is made."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from headrace_detectors import Action, Checker, Finding, Session, Verdict
from headrace_guardrails.domain.guard import Guard, Judged
from headrace_guardrails.domain.tiers import Looked, look
from headrace_guardrails.ports import Failure, Found, Policy, Subject
from headrace_kit.ending import end

_BREAK = re.compile(r"(?<=[.!?\n])\s+|\n+")
_NOTHING = Checker(())


class GuardedStream:
    """One text on its way. Used by one task; close it when it is not finished.

    Tier 1 releases text as soon as nothing can complete in it. Checks of tier 2 and 3 look at windows of what tier 1
    released, cut where a sentence ends: those that `hold` keep a window back until they have judged it, those that
    `trail` judge it while it goes out. Their spans count the text as tier 1 let it through.

    Args:
        guard: what settles and counts the outcome.
        subject: whose text it is.
        config_hash: the snapshot whose policy to use.
        from_tier: least tier to run.

    Raises:
        BadInput, NotFound, NotReady: as `Guard.check`.
    """

    def __init__(self, guard: Guard, subject: Subject, config_hash: str = "", from_tier: int = 1) -> None:
        self._guard, self._subject = guard, subject
        self._policy: Policy = guard.policy(subject, config_hash)
        self._session = Session()
        screen = self._policy.screens[subject.direction] if from_tier <= 1 else _NOTHING
        self._stream = screen.stream(self._session)
        checks = self._policy.costly.get(subject.direction, ())
        # A check of the whole text keeps all of it back, so nothing need trail.
        self._whole = list(checks) if any(check.whole for check in checks) else []
        self._hold = [] if self._whole else [check for check in checks if not check.trail]
        self._trail = [] if self._whole else [check for check in checks if check.trail]
        self._looked = Looked()
        self._window = ""
        self._window_at = 0
        self._text = ""
        self._trailing: set[asyncio.Task[tuple[int, Looked]]] = set()
        self._size_bytes = 0
        self._told_tier_1 = 0
        self._told_later = 0
        self._judged: Judged | None = None

    @property
    def shadow(self) -> bool:
        """Whether the policy only looks on."""
        return self._policy.shadow

    @property
    def version(self) -> str:
        """The policy's version."""
        return self._policy.version

    @property
    def would(self) -> Action:
        """The most severe action so far, whether or not the policy stands in the shadow."""
        if self._judged is not None:
            return self._judged.would
        if self._looked.closed:
            return Action.BLOCK
        actions = [self._stream.action, *(one.finding.action for one in self._looked.found)]
        return max(actions, key=lambda action: action.severity)

    @property
    def action(self) -> Action:
        """What holds so far."""
        return Action.ALLOW if self.shadow else self.would

    @property
    def over(self) -> bool:
        """Whether the text is withheld: nothing of it goes out any more."""
        return self.action.withholds

    @property
    def review_id(self) -> str:
        """Of an escalated text, once it is over."""
        return self._judged.review_id if self._judged is not None else ""

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Checks that gave no verdict so far."""
        return self._judged.failures if self._judged is not None else tuple(self._looked.failures)

    @property
    def findings(self) -> tuple[Found, ...]:
        """All findings so far; grows at its end only."""
        return (*self._tier_1(), *self._looked.found)

    async def feed(self, delta: str) -> str:
        """Take a piece; returns what may go out now.

        Raises:
            BadInput: the stream is too long.
        """
        return await self._advance(delta, final=False)

    async def finish(self, delta: str = "") -> str:
        """Take the last piece; returns the rest.

        Raises:
            BadInput: the stream is too long.
        """
        return await self._advance(delta, final=True)

    def new_findings(self) -> tuple[Found, ...]:
        """What was found since the last call."""
        tier_1, later = self._tier_1()[self._told_tier_1 :], self._looked.found[self._told_later :]
        self._told_tier_1 += len(tier_1)
        self._told_later += len(later)
        return (*tier_1, *later)

    async def aclose(self) -> None:
        """Stop whatever is still looking."""
        await end(*self._trailing)
        self._trailing.clear()

    def _tier_1(self) -> tuple[Found, ...]:
        return tuple(Found(finding) for finding in self._stream.findings)

    async def _advance(self, delta: str, *, final: bool) -> str:
        self._size_bytes += len(delta.encode(errors="replace"))
        self._guard.require_size(self._size_bytes, "delta")
        self._text += delta
        passed = self._stream.finish(delta) if final else self._stream.feed(delta)
        released = "" if self._stream.action.withholds else await self._further(passed, final=final)
        if (final or self.would.withholds) and self._judged is None:
            await self._settle()
        if self.shadow:
            return delta
        if self.over:
            return self._policy.rewrite if self.action is Action.REWRITE else ""
        return released

    async def _further(self, passed: str, *, final: bool) -> str:
        """What may go out of the text that tier 1 let through."""
        if not (self._whole or self._hold or self._trail):
            return passed
        released = passed if self._trail and not self._hold else ""
        self._window += passed
        while (cut := self._cut(final=final)) and not self._looked.withholds:
            window, at = self._window[:cut], self._window_at
            self._window, self._window_at = self._window[cut:], at + cut
            if held := self._whole or self._hold:
                looked = await look(held, window, window, self._subject, self._guard.metrics)
                self._take(at, looked)
                released += self._masked(window, looked)
            if self._trail:
                self._trailing.add(asyncio.create_task(self._follow(at, window)))
        await self._gather(wait=final)
        return "" if self._looked.withholds else released

    def _cut(self, *, final: bool) -> int:
        """Where the next window ends, or 0 while it is not full."""
        if final:
            return len(self._window)
        if self._whole or len(self._window) < self._policy.window_chars:
            return 0
        ends = [found.end() for found in _BREAK.finditer(self._window)]
        return ends[-1] if ends else (self._window.rfind(" ") + 1 or len(self._window))

    async def _follow(self, at: int, window: str) -> tuple[int, Looked]:
        return at, await look(self._trail, window, window, self._subject, self._guard.metrics)

    async def _gather(self, *, wait: bool) -> None:
        """Take what the trailing checks said meanwhile; at the end wait for all of them."""
        if self._trailing and wait:
            await asyncio.wait(self._trailing)
        done = {task for task in self._trailing if task.done()}
        self._trailing -= done
        for task in done:
            self._take(*task.result())

    def _take(self, at: int, looked: Looked) -> None:
        moved = [Found(_moved(one.finding, at), one.version) for one in looked.found]
        self._looked.add(Looked([], moved, looked.failures))

    def _masked(self, window: str, looked: Looked) -> str:
        masks = [extra for extra in looked.extras if extra.finding.action is Action.MASK]
        return _NOTHING.check(window, self._session, masks).text if masks else window

    async def _settle(self) -> None:
        """Fix the outcome: escalate it if it is for a person, count it, tell the audit."""
        await self.aclose()
        verdict = Verdict(self._stream.action, "", self._stream.findings)
        found = Looked([], list(self._looked.found), list(self._looked.failures))
        judged = await self._guard.settle(self._policy, self._subject, self._text, verdict, found, self._session)
        if judged.would is not Action.ESCALATE and any(
            one.finding.action is Action.ESCALATE for one in judged.findings
        ):
            # A person let this text pass, but what a stream withheld is gone: it passes when it is whole.
            judged = replace(judged, would=Action.BLOCK, action=Action.ALLOW if judged.shadow else Action.BLOCK)
        self._judged = judged
        self._guard.note(self._subject, judged)


def _moved(finding: Finding, by: int) -> Finding:
    return replace(finding, start=finding.start + by, end=finding.end + by)
