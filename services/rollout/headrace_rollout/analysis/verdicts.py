"""From what a judge knows to what is said about it."""

from __future__ import annotations

import math

from headrace_kit.config.rollout_analysis import Analysis as Spec
from headrace_rollout.analysis.judge import Judge
from headrace_rollout.analysis.observed import State, Verdict


def state_of(judge: Judge, spec: Spec, candidate_keys: int, began: float, now: float | None) -> State:
    """The state of a metric at `now`, seconds, when the candidate has answered `candidate_keys` sticky keys."""
    if now is not None and _silent_s(judge, began, now) > spec.missing_after:
        return "missing"
    if judge.within() >= 1:
        # shown to be within its margin: it may be worse than the baseline by less
        return "within" if judge.paired or candidate_keys >= spec.least_keys else "undecided"
    return "beyond" if judge.harmed else "undecided"


def verdict(judge: Judge, spec: Spec, candidate_keys: int, began: float, now: float) -> Verdict:
    """What is known about a metric at `now`."""
    state = state_of(judge, spec, candidate_keys, began, now)
    interval = judge.interval()
    low, high = (interval[1], interval[2]) if interval else (None, None)
    within, evidence = judge.within(), judge.evidence
    reason = {
        "missing": f"no value from the candidate for {_time(_silent_s(judge, began, now))}",
        "within": f"shown to be less than {_amount(judge, judge.margin)} worse",
        "beyond": f"shown to be {_worse(judge)} (at {judge.allowance.harm:.2g})",
        "undecided": _undecided(within, evidence, candidate_keys, spec),
    }[state]
    if judge.harmed and low is not None:
        low = max(low, judge.line)
    if within >= 1 and high is not None:
        high = min(high, judge.margin)
    return Verdict(
        metric=judge.name,
        state=state,
        estimate=interval[0] if interval else None,
        low=low,
        high=None if high is None or math.isinf(high) else high,
        margin=judge.margin,
        alpha=judge.allowance.harm,
        evidence=evidence,
        n_baseline=judge.counts[0],
        n_candidate=judge.counts[1],
        reason=f"{reason}: {judge.values()}",
        paired=judge.paired,
    )


def verdict_on_segment(judge: Judge, label: str) -> Verdict:
    """What is said about a segment that was shown to be harmed."""
    return Verdict(
        metric=f"{judge.name}[{label}]",
        state="beyond",
        estimate=None,
        low=judge.line,
        high=None,
        margin=judge.margin,
        alpha=judge.allowance.segment,
        evidence=1.0,
        n_baseline=0,
        n_candidate=0,
        reason=f"shown to be {_worse(judge)} for {label} (at {judge.allowance.segment:.2g})",
    )


def _worse(judge: Judge) -> str:
    return f"more than {_amount(judge, judge.line)} worse" if judge.line else "worse than the baseline"


def _undecided(within: float, evidence: float, candidate_keys: int, spec: Spec) -> str:
    if within >= 1:
        return f"within its margin, but only {candidate_keys} of {spec.least_keys} keys of the candidate were answered"
    return f"{within:.0%} of the evidence that it is within its margin, {evidence:.0%} of that for a rollback"


def _amount(judge: Judge, amount: float) -> str:
    return f"{amount * 100:.3g} points" if judge.unit == "points" else f"{amount * 100:.3g}%"


def _silent_s(judge: Judge, began: float, now: float) -> float:
    return now - (began if judge.last_at is None else judge.last_at)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
