"""Pairs that a model compared, which errs: how much it errs is known from comparisons that people made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from headrace_evals.agreement import Agreement
from headrace_rollout.analysis.judge import Allowance, Interval
from headrace_rollout.analysis.scores import PairJudge

JUDGED = "pairs.judge"
"""The metric of a model that compares answers."""

CALIBRATION = 0.2
"""Part of the metric's alpha for a calibration that was luck."""


class JudgedPairs(PairJudge):
    """Judges comparisons by a model: 1 and 0 where it prefers an answer, 0.5 twice where it does not.

    If people prefer the baseline by a net share `d`, the model is expected to by `gain x d` (see
    `headrace_evals.agreement`), and the gain lies above `low` but with probability `CALIBRATION` of alpha. So

    - what is worse for the model is worse for people, as soon as `low` is above 0: the bets on harm are those of any
      pairs;
    - a candidate beyond its margin is, for the model, beyond `low` times the margin at least: the bets that it is
      within are made against that line. A worse judge needs more pairs, and errs no more often.

    Both have what is left of alpha. A comparison that failed counts as one that the candidate lost where the question
    is whether it is within its margin, and not at all where it is whether it does harm.
    """

    def __init__(self, name: str, margin: float, allowance: Allowance) -> None:
        self._spent = allowance.harm * CALIBRATION
        super().__init__(
            name, margin, replace(allowance, harm=allowance.harm - self._spent, whole=allowance.whole - self._spent)
        )
        self._agreement: Agreement | None = None
        self._gain = (-1.0, 1.0)
        self._why = ""
        self._failed = 0

    @property
    def usable(self) -> bool:
        """Whether the model was shown to be better than a coin."""
        return self._gain[0] > 0

    def calibrate(self, found: Agreement | None, why: str = "") -> None:
        """What is known of the model; see `Analysis.calibrate`."""
        if self._agreement is not None:
            return
        self._agreement, self._why = found, why
        if found is not None:
            self._gain = found.between(self._spent)
            self._within_margin = self.margin * max(self._gain[0], 0.0)

    def add(self, keys: Any, at: Any, baseline: Any, candidate: Any) -> None:
        """Pairs, as columns; NaN where the comparison failed."""
        if not self.usable:
            return
        told = ~np.isnan(candidate)
        if told.any():
            super().add(keys[told], at[told], baseline[told], candidate[told])
        failed = int((~told).sum())
        if failed:
            self._failed += failed
            self._bet_within(np.ones(failed))

    def interval(self) -> Interval | None:
        """In people's terms."""
        found = super().interval()
        if found is None or self._agreement is None:
            return None
        value, low, high = found
        least, most = self._gain
        return (
            _bounded(value / self._agreement.gain),
            _bounded(low / (most if low > 0 else least)),
            _bounded(high / (least if high > 0 else most)),
        )

    def values(self) -> str:
        if self._agreement is None:
            return f"the judge is not checked against people yet{': ' if self._why else ''}{self._why}"
        known = (
            f"the judge was {self._agreement.in_words()}: gain {self._agreement.gain:.2f}, at least {self._gain[0]:.2f}"
        )
        if not self.usable:
            return f"{known}, so it is not shown to be better than a coin and counts for nothing"
        asked = int(self._sums[0]) + self._failed
        return f"{super().values()}, {self._failed} of {asked} without a verdict; {known}"

    def dump(self) -> dict[str, Any]:
        found = self._agreement
        counts = None if found is None else [found.right, found.tie, found.wrong, found.ties_kept, found.ties_lost]
        return super().dump() | {"agreement": counts, "failed": self._failed}

    def restore(self, dumped: Mapping[str, Any]) -> None:
        super().restore(dumped)
        self._failed = int(dumped["failed"])
        if dumped["agreement"] is not None:
            self.calibrate(Agreement(*map(int, dumped["agreement"])))


def _bounded(value: float) -> float:
    return min(1.0, max(-1.0, value))
