"""Judge texts by policies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from headrace_detectors import DIRECTIONS, Action, Checker, Extra, Session, Verdict
from headrace_guardrails.domain.policies import Policies
from headrace_guardrails.domain.reviews import Review, Reviews
from headrace_guardrails.domain.tiers import Looked, look
from headrace_guardrails.metrics import Metrics
from headrace_guardrails.ports import Failure, Found, Policy, Subject
from headrace_kit.errors import BadInput, Blocked, NotReady

_INLINE_CHARS = 20_000
"""Longer texts are checked in a thread: they would hold up the streams of everybody else."""

_NOTHING = Checker(())


@dataclass(frozen=True, slots=True, repr=False)
class Judged:
    """The outcome for a text.

    Attributes:
        action: what holds; `allow` for a policy in the shadow.
        text: the text as it may go on; empty when it is withheld, the policy's own words for a rewrite.
        findings: by position.
        version: of the policy.
        would: what holds, or would if the policy did not stand in the shadow.
        shadow: the policy stands in the shadow.
        failures: checks that gave no verdict.
        review_id: of an escalated text, also of one that passes since it was approved.
    """

    action: Action
    text: str
    findings: tuple[Found, ...]
    version: str
    would: Action
    shadow: bool = False
    failures: tuple[Failure, ...] = ()
    review_id: str = ""


Noted = Callable[[Subject, Judged], None]
"""Tells the audit of a decision."""


class Guard:
    """Applies policies.

    Args:
        policies: where they are looked up.
        metrics: what is counted.
        max_text_bytes: longest text, and longest stream, in UTF-8 bytes.
        reviews: where escalated texts go; None refuses them.
        noted: told of each decision that found something.
    """

    def __init__(
        self,
        policies: Policies,
        metrics: Metrics,
        max_text_bytes: int,
        reviews: Reviews | None = None,
        noted: Noted | None = None,
    ) -> None:
        self._policies = policies
        self.metrics = metrics
        self._max_text_bytes = max_text_bytes
        self._reviews = reviews
        self._noted = noted

    async def check(
        self, subject: Subject, text: str, config_hash: str = "", from_tier: int = 1, session: Session | None = None
    ) -> Judged:
        """Judge a whole text.

        Args:
            subject: what it is, and whose.
            text: the text.
            config_hash: the snapshot whose policies to use.
            from_tier: least tier to run: the gateway has run tier 1 itself.
            session: the conversation whose placeholders to go on with.

        Raises:
            BadInput: no such direction, or the text is too long.
            NotFound: no such policy.
            NotReady: the policy cannot be compiled.
        """
        policy = self.policy(subject, config_hash)
        self.require_size(len(text.encode(errors="replace")), "text")
        started = time.perf_counter()
        session = session or Session()
        verdict = await _screen(policy, subject.direction, text, session) if from_tier <= 1 else _passed(text)
        looked = Looked()
        costly = policy.costly.get(subject.direction, ())
        if costly and text and not verdict.action.withholds:
            looked = await look(costly, text, verdict.text, subject, self.metrics)
        judged = await self.settle(policy, subject, text, verdict, looked, session, from_tier)
        self.metrics.seconds.labels(subject.direction).observe(time.perf_counter() - started)
        self.note(subject, judged)
        return judged

    async def release(self, review: Review, subject: Subject, config_hash: str = "") -> str:
        """The text of an approved item as its policies let it through now, as if it was sent again.

        Raises:
            Blocked: one of them withholds it, or gave it to a person too.
            NotFound, NotReady: as `check`; NotReady too where a check without which nothing passes gave no verdict.
        """
        text = review.text
        for policy in dict.fromkeys((review.policy, *review.also)):
            judged = await self.check(replace(subject, policy=policy, also=()), text, config_hash)
            text = judged.text
            if judged.action is Action.ESCALATE:
                message = f"the policy {policy!r} gave this content to a person (review {judged.review_id})"
                raise Blocked(message, code="content_review", param="id")
            if any(failure.closed for failure in judged.failures):
                message = f"the policy {policy!r} could not judge this content; try again shortly"
                raise NotReady(message, code="guardrail_unavailable", param="id", retry_after_s=1)
            if judged.action is Action.BLOCK:
                raise Blocked(f"the policy {policy!r} does not allow this content", param="id")
        return text

    def policy(self, subject: Subject, config_hash: str) -> Policy:
        """The policy of a text. Raises BadInput, NotFound, NotReady."""
        if subject.direction not in DIRECTIONS:
            raise BadInput(f"the direction is one of {', '.join(DIRECTIONS)}", param="direction")
        return self._policies.get(subject.policy, config_hash)

    def require_size(self, size_bytes: int, param: str) -> None:
        """Raises BadInput for a text, or a stream so far, that is too long."""
        if size_bytes > self._max_text_bytes:
            raise BadInput(
                f"{param} is longer than {self._max_text_bytes} bytes; check it in parts",
                code="text_too_long",
                param=param,
            )

    async def settle(
        self,
        policy: Policy,
        subject: Subject,
        text: str,
        verdict: Verdict,
        looked: Looked,
        session: Session,
        from_tier: int = 1,
    ) -> Judged:
        """Make one outcome of what all tiers said of a text."""
        findings = [Found(finding) for finding in verdict.findings] + looked.found
        findings.sort(key=lambda found: (found.finding.start, found.finding.end))
        would = max((one.finding.action for one in findings), key=_severity, default=Action.ALLOW)
        failures = list(looked.failures)
        if looked.closed:
            would = Action.BLOCK
        out, review_id = verdict.text, ""
        if any(extra.finding.action is Action.MASK for extra in looked.extras) and not would.withholds:
            screen = policy.screens[subject.direction] if from_tier <= 1 else _NOTHING
            out = screen.check(text, session, [_masking(extra) for extra in looked.extras]).text
        if would is Action.ESCALATE and not policy.shadow:
            would, review_id, failure = await self._escalate(policy, subject, text, findings)
            if failure is not None:
                failures.append(failure)
            if not would.withholds:
                out = _released(text, session, findings)
        if would is Action.REWRITE:
            out = policy.rewrite
        elif would.withholds:
            out = ""
        action = Action.ALLOW if policy.shadow else would
        shown = text if policy.shadow else out
        return Judged(action, shown, tuple(findings), policy.version, would, policy.shadow, tuple(failures), review_id)

    async def _escalate(
        self, policy: Policy, subject: Subject, text: str, findings: Sequence[Found]
    ) -> tuple[Action, str, Failure | None]:
        """Ask for a person, unless one let this text pass lately: then what else was found holds."""
        try:
            if self._reviews is None:
                raise NotReady("there is no review queue")
            if approved := await self._reviews.approved(subject, text):
                rest = [one.finding.action for one in findings if one.finding.action is not Action.ESCALATE]
                return max(rest, key=_severity, default=Action.FLAG), approved, None
            return Action.ESCALATE, await self._reviews.escalate(subject, policy.version, text, findings), None
        except NotReady:
            self.metrics.failures.labels("review", "unavailable", "closed").inc()
            return Action.BLOCK, "", Failure("review", "unavailable", closed=True)

    def note(self, subject: Subject, judged: Judged) -> None:
        """Count a decision, and tell the audit of one that found something."""
        self.metrics.checks.labels(subject.policy, subject.direction, judged.would.value).inc()
        for found in judged.findings:
            one = found.finding
            self.metrics.findings.labels(one.check, one.kind, one.action.value).inc()
        if self._noted is not None and (judged.findings or judged.failures):
            self._noted(subject, judged)


async def _screen(policy: Policy, direction: str, text: str, session: Session) -> Verdict:
    screen = policy.screens[direction]
    if len(text) > _INLINE_CHARS:
        return await asyncio.to_thread(screen.check, text, session)
    return screen.check(text, session)


def _passed(text: str) -> Verdict:
    return Verdict(Action.ALLOW, text, ())


def _severity(action: Action) -> int:
    return action.severity


def _masking(extra: Extra) -> Extra:
    """What is no mask must not cover text that is one."""
    return extra if extra.finding.action is Action.MASK else Extra(replace(extra.finding, action=Action.FLAG))


def _released(text: str, session: Session, findings: Sequence[Found]) -> str:
    """The text as it would go on if nothing of what was found were for a person: all its masks in place."""
    masks = [Extra(one.finding) for one in findings if one.finding.action is Action.MASK]
    return _NOTHING.check(text, session, masks).text if masks else text
