"""What the analysis is told, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Arm = Literal["baseline", "candidate"]
State = Literal["within", "beyond", "undecided", "missing"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request that an arm served.

    Attributes:
        arm: who served it.
        key: the sticky key, or a hash of it: the unit of every test. Outcomes of one key may depend on each other.
        at: when it ended, in seconds.
        weight: the chance, from 0 to 1, that this key was on the candidate when the request came: of the two arms that
            are compared, the candidate's share. Outcomes with 0 or 1 are counted and compared with nothing.
        failed: kind of the failure; None for an answer.
        ttft_ms, tpot_ms, total_ms, output_tokens, cost_nano_usd: None where there is no such value.
        segment: groups that it belongs to, by dimension.
        scores: values from 0 to 1 by name, higher is better.
    """

    arm: Arm
    key: str
    at: float
    weight: float
    failed: str | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    total_ms: float | None = None
    output_tokens: float | None = None
    cost_nano_usd: float | None = None
    segment: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pair:
    """Scores, from 0 to 1, of both arms' answers to the same request. `metric` is its name under `analysis.pairs`.

    With `failed` the grader was asked and could not tell; the scores say nothing then.
    """

    metric: str
    key: str
    at: float
    baseline: float
    candidate: float
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known about one metric.

    Attributes:
        metric: its name; with a segment `errors[tenant=acme]`.
        state: `within`: shown to be within its margin. `beyond`: shown to be worse than allowed, and not to be within
            its margin, so roll back. `missing`: no values. `undecided`: not enough values yet.
        estimate, low, high: how much worse the candidate is and an interval that holds at all times at once with
            probability 1 - `alpha` at least; in points (0.01 is one percentage point) for rates and scores, as a share
            of the baseline's value for quantities. None while there is nothing to say.
        margin: how much worse it may be, in the same unit.
        alpha: this metric's part of the allowed false rollbacks.
        evidence: how far the case for a rollback is, from 0 to 1; 1 is shown.
        n_baseline, n_candidate: values on each side; pairs count on both.
        reason: one sentence with the numbers.
        paired: whether it compares answers to the same requests, so that it needs no request on the candidate.
    """

    metric: str
    state: State
    estimate: float | None
    low: float | None
    high: float | None
    margin: float
    alpha: float
    evidence: float
    n_baseline: int
    n_candidate: int
    reason: str
    paired: bool = False
