"""What the analysis says of a rollout, and what becomes of it: decisions with their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from headrace_rollout.domain.evaluation import Evaluation

WITHIN, BEYOND, UNDECIDED, MISSING = "within", "beyond", "undecided", "missing"
NUMBERS = ("estimate", "low", "high", "margin")


class Verdict(Protocol):
    """What the outcomes so far say of one metric: `state` is `within`, `beyond`, `undecided` or `missing`.

    `paired`: it is judged by what shadows answered, not by what callers got. `margin` is the worst value allowed.
    """

    @property
    def metric(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def estimate(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def margin(self) -> float | None: ...
    @property
    def evidence(self) -> float: ...
    @property
    def alpha(self) -> float: ...
    @property
    def n_baseline(self) -> int: ...
    @property
    def n_candidate(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def paired(self) -> bool: ...


class Action(StrEnum):
    """What a decision does."""

    ADVANCE = "advance"
    PROMOTE = "promote"
    HOLD = "hold"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known of a rollout at a look.

    `complete` is false while outcomes may have happened that were not counted: their stream is away, or not read to its
    end. `missing_limit_s`: after how long without some metric it is rolled back; None: never.
    `evaluation`: the last suite that it was put to.
    `broken`: why it goes back whatever its metrics say. `unserved`: why its weight is not in force just now, so that no
    time is counted and no step begins.
    """

    verdicts: tuple[Verdict, ...] = ()
    complete: bool = True
    missing_limit_s: float | None = None
    evaluation: Evaluation | None = None
    broken: str = ""
    unserved: str = ""

    def needed(self, *, live: bool, shadows: bool) -> list[Verdict]:
        """The verdicts that a step waits for: on what callers got where some were on the candidate, and on shadows."""
        return [verdict for verdict in self.verdicts if (shadows if verdict.paired else live)]


@dataclass(frozen=True, slots=True)
class Decision:
    """A line of the record of decisions, with the verdicts that it was made by."""

    rollout_id: str
    at: datetime
    step: int
    action: Action
    reason: str
    verdicts: tuple[Mapping[str, Any], ...]


def told(verdict: Verdict) -> dict[str, Any]:
    """A verdict as it is kept: JSON-able, numbers that are not finite left out."""
    numbers = {name: _finite(getattr(verdict, name)) for name in NUMBERS}
    return {
        "metric": verdict.metric,
        "state": str(verdict.state),
        **{name: number for name, number in numbers.items() if number is not None},
        "alpha": verdict.alpha,
        "evidence": verdict.evidence,
        "n_baseline": verdict.n_baseline,
        "n_candidate": verdict.n_candidate,
        "reason": verdict.reason,
        "paired": verdict.paired,
    }


def _finite(number: float | None) -> float | None:
    if number is None or number != number or number in (float("inf"), float("-inf")):
        return None
    return float(number)
