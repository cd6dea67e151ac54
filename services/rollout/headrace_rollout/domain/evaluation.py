"""How far the suite of a step is, and what came out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace_evals.verdict import Check, Verdict
from headrace_rollout.domain.verdicts import BEYOND, WITHIN

RUNNING, PASSED, FAILED = "running", "passed", "failed"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The suite of one step of a rollout.

    Attributes:
        state: `running`, `passed` or `failed`.
        done: items that were asked and graded, of `total`.
        why: while it runs what is in its way, afterwards what does not hold; empty: nothing.
        checks: what its thresholds demand and what was found, as verdicts are kept.
    """

    rollout_id: str
    step: int
    suite: str
    state: str
    done: int = 0
    total: int = 0
    why: str = ""
    checks: tuple[Mapping[str, Any], ...] = ()

    def in_words(self) -> str:
        """Where it is, in a line."""
        progress = f"the evaluation {self.suite} has {self.done} of {self.total} items"
        return f"{progress}: {self.why}" if self.why else progress

    def found(self) -> str:
        """What it found, with its numbers."""
        return "; ".join(str(check["reason"]) for check in self.checks)


def checks_of(verdict: Verdict, alpha: float) -> list[dict[str, Any]]:
    """The checks of a suite as verdicts are kept; `alpha` is each one's share of error."""
    return [_check(verdict.suite, check, alpha) for check in verdict.checks]


def _check(suite: str, check: Check, alpha: float) -> dict[str, Any]:
    numbers = {"estimate": check.value, "low": check.low, "high": check.high}
    return {
        "metric": f"{suite}/{check.metric}",
        "state": WITHIN if check.passed else BEYOND,
        **{name: number for name, number in numbers.items() if number is not None and abs(number) < float("inf")},
        "alpha": alpha,
        "evidence": 0.0 if check.passed else 1.0,
        "n_baseline": check.n if check.low is not None else 0,
        "n_candidate": check.n,
        "reason": f"{check.metric} {check.rule}: {check.why or _holds(check)}",
        "paired": True,
    }


def _holds(check: Check) -> str:
    if check.value is None:
        return "holds"
    if check.low is None or check.high is None:
        return f"it is {check.value:.4g}"
    return f"{100 * check.value:+.3g}%, interval {100 * check.low:+.3g}% to {100 * check.high:+.3g}%, {check.n} items"
