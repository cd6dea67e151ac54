"""Which traces keep their spans once they are over, and how the others are thinned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace_tracing.domain.spans import Summary
from headrace_tracing.metrics import Metrics
from headrace_tracing.ports import TraceStore

_WHOLE = 10_000
_CHUNK = 1000

THINNED = "thinned"
OUTCOMES = ("saved", "feedback", "error", "slow", "unsure", "rollout", "share", THINNED)
"""Why a trace keeps its spans, the first that holds; `thinned`: it does not."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes a trace keep its spans.

    Attributes:
        share: hundredths of a percent of a tenant's plain traces that do, by their ids.
        slow_ns: traces that took at least so long do.
        rollouts: whether those that a rollout looks at do.
        quiet_s: seconds without a new span after which a trace is over.
    """

    share: Callable[[str], int]
    slow_ns: int
    rollouts: bool
    quiet_s: float

    def outcome(self, parts: Sequence[Summary]) -> str:
        """What becomes of one trace, given the summaries of all tenants that have spans in it: one of `OUTCOMES`."""
        if any(one.saved for one in parts):
            return "saved"
        if any(one.said.count for one in parts):
            return "feedback"
        if any(one.failed or one.status == "error" for one in parts):
            return "error"
        if max(one.end_ns for one in parts) - min(one.start_ns for one in parts) >= self.slow_ns:
            return "slow"
        if any(one.unsure for one in parts):
            return "unsure"
        if self.rollouts and any(one.facts.rollout or one.facts.arm == "candidate" for one in parts):
            return "rollout"
        # Spans without a tenant are a part of the trace of those with one, and go by its share.
        named = [one for one in parts if one.tenant] or parts
        share = max(self.share(one.tenant) for one in named)
        return "share" if place(parts[0].trace_id) < share else THINNED


def place(trace_id: str) -> int:
    """Where a trace stands among all, 0 to 9999, the same in every replica and at every time.

    By a hash, because the head's share is taken by the id itself: of what that left, all would be on one side.
    """
    return int.from_bytes(hashlib.sha256(bytes.fromhex(trace_id)).digest()[:4]) * _WHOLE >> 32


class Thinning:
    """Looks at traces that are over, once each, and deletes the spans of those that nobody will miss.

    Args:
        rules: what holds now; None while everything is kept.
    """

    def __init__(self, store: TraceStore, metrics: Metrics, rules: Callable[[], Rules | None]) -> None:
        self._store = store
        self._metrics = metrics
        self._rules = rules
        for outcome in OUTCOMES:
            metrics.traces_settled.labels(outcome)

    async def sweep(self) -> int:
        """Look at every trace that is over; returns how many that was."""
        rules = self._rules()
        total = 0
        while rules is not None:
            done = await self._store.settle(rules.outcome, rules.quiet_s, _CHUNK)
            for outcome, traces in done.outcomes.items():
                self._metrics.traces_settled.labels(outcome).inc(traces)
            self._metrics.spans_thinned.inc(done.spans)
            total += done.traces
            if not done.traces:
                break
        return total
