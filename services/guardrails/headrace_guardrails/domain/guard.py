"""Judge texts by policies."""

from __future__ import annotations

import asyncio
import time

from headrace_detectors import DIRECTIONS, Action, Finding, Verdict
from headrace_guardrails.domain.policies import Policies
from headrace_guardrails.metrics import Metrics
from headrace_guardrails.ports import Screen, ScreenStream
from headrace_kit.errors import BadInput

_INLINE_CHARS = 20_000
"""Longer texts are checked in a thread: they would hold up the streams of everybody else."""


class Guard:
    """Applies policies.

    Args:
        policies: where they are looked up.
        metrics: what is counted.
        max_text_bytes: longest text, and longest stream, in UTF-8 bytes.
    """

    def __init__(self, policies: Policies, metrics: Metrics, max_text_bytes: int) -> None:
        self._policies = policies
        self._metrics = metrics
        self._max_text_bytes = max_text_bytes

    async def check(self, policy: str, direction: str, text: str, config_hash: str = "") -> Verdict:
        """Judge a whole text.

        Raises:
            BadInput: no such direction, or the text is too long.
            NotFound: no such policy.
            NotReady: the policy cannot be compiled.
        """
        screen = self._screen(policy, direction, config_hash)
        self._require_size(len(text.encode(errors="replace")), "text")
        started = time.perf_counter()
        if len(text) > _INLINE_CHARS:
            verdict = await asyncio.to_thread(screen.check, text)
        else:
            verdict = screen.check(text)
        self._metrics.seconds.labels(direction).observe(time.perf_counter() - started)
        self._count(policy, direction, verdict.action, verdict.findings)
        return verdict

    def stream(self, policy: str, direction: str, config_hash: str = "") -> GuardedStream:
        """Begin to judge a text that arrives in pieces.

        Raises:
            BadInput: no such direction.
            NotFound: no such policy.
            NotReady: the policy cannot be compiled.
        """
        screen = self._screen(policy, direction, config_hash)
        return GuardedStream(self, screen.stream(), policy, direction)

    def _screen(self, policy: str, direction: str, config_hash: str) -> Screen:
        if direction not in DIRECTIONS:
            raise BadInput(f"the direction is one of {', '.join(DIRECTIONS)}", param="direction")
        return self._policies.get(policy, config_hash).screens[direction]

    def _require_size(self, size_bytes: int, param: str) -> None:
        if size_bytes > self._max_text_bytes:
            raise BadInput(
                f"{param} is longer than {self._max_text_bytes} bytes; check it in parts",
                code="text_too_long",
                param=param,
            )

    def _count(self, policy: str, direction: str, action: Action, findings: tuple[Finding, ...]) -> None:
        self._metrics.checks.labels(policy, direction, action.value).inc()
        for finding in findings:
            self._metrics.findings.labels(finding.check, finding.kind, finding.action.value).inc()


class GuardedStream:
    """One text on its way. Made by `Guard.stream`; used by one task."""

    def __init__(self, guard: Guard, stream: ScreenStream, policy: str, direction: str) -> None:
        self._guard = guard
        self._stream = stream
        self._policy = policy
        self._direction = direction
        self._size_bytes = 0
        self._reported = 0
        self._ended = False

    @property
    def action(self) -> Action:
        """The most severe action so far."""
        return self._stream.action

    @property
    def blocked(self) -> bool:
        """Whether a check blocked: nothing goes out any more, and the stream is over."""
        return self.action is Action.BLOCK

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings so far, by position."""
        return self._stream.findings

    def feed(self, delta: str) -> str:
        """Take a piece; returns what may go out now.

        Raises:
            BadInput: the stream is too long.
        """
        self._add(delta)
        out = self._stream.feed(delta)
        if self.blocked:
            self._end()
        return out

    def finish(self, delta: str = "") -> str:
        """Take the last piece; returns the rest.

        Raises:
            BadInput: the stream is too long.
        """
        self._add(delta)
        out = self._stream.finish(delta)
        self._end()
        return out

    def new_findings(self) -> tuple[Finding, ...]:
        """What was found since the last call."""
        found = self.findings[self._reported :]
        self._reported += len(found)
        return found

    def _add(self, delta: str) -> None:
        self._size_bytes += len(delta.encode(errors="replace"))
        self._guard._require_size(self._size_bytes, "delta")

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._guard._count(self._policy, self._direction, self.action, self.findings)
