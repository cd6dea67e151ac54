"""What judges of values from 0 to 1 have in common: one mean an arm, and the difference of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace_rollout.analysis.betting import Array, LineBets, TemperedBets
from headrace_rollout.analysis.chunk import Chunk
from headrace_rollout.analysis.intervals import Difference
from headrace_rollout.analysis.judge import Allowance, Interval, LiveJudge
from headrace_rollout.analysis.keys import Epochs
from headrace_rollout.analysis.repeats import Repeats


class ShareJudge(LiveJudge):
    """Bets that the means of both arms differ by less than the margin, and tells by how much they do.

    Each value counts by its arm's chance. What values of one key share is taken off as their dispersion.
    """

    def __init__(self, name: str, margin: float, allowance: Allowance, epochs: Epochs) -> None:
        super().__init__(name, margin, 0.0, allowance, epochs)
        self._line = LineBets()
        self._within = TemperedBets(allowance.whole, self._line.prior)
        self._repeats = Repeats(epochs, 1)
        self._difference = Difference()

    def _bet_within(self, values: Array, chunk: Chunk, chance: Array, middle: float) -> None:
        """Values of the outcomes of a chunk, higher is worse, after `_repeats` has them.

        `chance` is that of the candidate for what has a value, `middle` about a usual value: both are known before.
        """
        candidate = chunk.candidate
        worse = (values - middle) * np.where(candidate, 1 / chance, -1 / (1 - chance))
        worst = np.maximum((1 - middle) / chance, middle / (1 - chance))
        won = self._line(self.margin - worse, worst - self.margin)
        self._within.follow_tempered(won, float(self._repeats.dispersion()[0]))
        self._difference.add(values, candidate, chunk.epochs)

    def _mean(self, values: float, outcomes: float) -> float:
        """Of both arms, beginning with a guess that counts as `outcomes` whose values sum to `values`."""
        (n0, n1), (m0, m1) = self._difference.counts, self._difference.means()
        return (n0 * m0 + n1 * m1 + values) / (n0 + n1 + outcomes)

    @property
    def counts(self) -> tuple[int, int]:
        return self._difference.counts

    def within(self) -> float:
        return self._within.progress

    def interval(self) -> Interval | None:
        return self._difference.interval(self.allowance.whole, float(self._repeats.dispersion()[0]))

    def dump(self) -> dict[str, Any]:
        return super().dump() | {
            "within": self._within.dump(),
            "repeats": self._repeats.dump(),
            "difference": self._difference.dump(),
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        super().restore(dumped)
        self._within.restore(dumped["within"])
        self._repeats.restore(dumped["repeats"])
        self._difference.restore(dumped["difference"])
