"""How good answers are: scores of live answers, and of both arms' answers to the same request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace_rollout.analysis.betting import ArmBets, Bets, LineBets, TemperedBets
from headrace_rollout.analysis.chunk import Chunk
from headrace_rollout.analysis.intervals import radius
from headrace_rollout.analysis.judge import FIRST, Allowance, Interval, Judge
from headrace_rollout.analysis.keys import Epochs, FirstTime
from headrace_rollout.analysis.repeats import LEVELS, Repeats
from headrace_rollout.analysis.shares import ShareJudge

TILTS = (0.4, 0.9, 1.8, 3.5, 7.0)
PAIR_SHARES = (0.04, 0.1, 0.2, 0.33, 0.5, 0.75)


class ScoreJudge(ShareJudge):
    """Judges scores from 0 to 1 of live answers. Higher is better, so what is bet on is what they lack to 1."""

    harm: tuple[Bets, ...]

    def __init__(self, name: str, margin: float, allowance: Allowance, epochs: Epochs) -> None:
        super().__init__(name, margin, allowance, epochs)
        self._first = FirstTime(epochs, 8_192)
        again = (1 - FIRST) / len(LEVELS)
        self._bets = ArmBets(TILTS)
        self.harm = tuple(Bets(allowance.harm * part, self._bets.prior) for part in (FIRST, *(again for _ in LEVELS)))

    def add(self, chunk: Chunk) -> None:
        """Outcomes; those without this score are left out."""
        column = chunk.column(self.name)
        there = np.flatnonzero(~np.isnan(column))
        if not len(there):
            return
        lacks = 1 - np.clip(column[there], 0, 1)
        candidate, keys, epochs = chunk.candidate[there], chunk.keys[there], chunk.epochs[there]
        if candidate.any():
            self.last_at = float(chunk.at[there][candidate].max())
        middle = self._mean(5, 10)
        scores, middles = lacks[:, None], np.full(1, middle)
        chance = self._first.chances(keys.tolist(), candidate.tolist(), epochs.tolist())
        bet = np.flatnonzero((chance > 0) & (chance < 1))
        if len(bet):
            won = self._bets(scores[bet], middles, candidate[bet], chance[bet])
            self.harm[0].follow(won)
            self.follow_segments(chunk, there[bet], won)
        for level, means in enumerate(self._repeats.add(keys, candidate, epochs, scores, middles), start=1):
            self.harm[level].follow(self._bets(means.scores, middles, means.candidate, means.chance))
        self._bet_within(lacks, chunk, there, middle)

    def values(self) -> str:
        (n0, n1), (m0, m1) = self._difference.counts, self._difference.means()
        return f"mean {1 - m1:.3f} of {n1:,} scores, {1 - m0:.3f} of {n0:,} on the baseline"

    def segment_bets(self) -> Bets:
        return Bets(self.allowance.segment, self._bets.prior)

    def dump(self) -> dict[str, Any]:
        return super().dump() | {
            "first": self._first.dump(),
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        super().restore(dumped)
        self._first.restore(dumped["first"])


class PairJudge(Judge):
    """Judges scores from 0 to 1 of both arms' answers to the same request.

    A candidate that is no worse loses no more than it wins, in the mean over keys: that is bet against with each key's
    first pair, and with the means of keys that have several.
    """

    paired = True
    harm: tuple[Bets, ...]

    def __init__(self, name: str, margin: float, allowance: Allowance) -> None:
        # every pair is of the same epoch: there is no coin to toss
        epochs = Epochs()
        super().__init__(name, margin, 0.0, allowance, epochs)
        self._epoch = epochs.of(0.5, 0.0)
        self._first = FirstTime(epochs, 16_384)
        again = (1 - FIRST) / len(LEVELS)
        self._line, self._bets = LineBets(), LineBets(PAIR_SHARES)
        self.harm = tuple(Bets(allowance.harm * part, self._bets.prior) for part in (FIRST, *(again for _ in LEVELS)))
        self._within = TemperedBets(allowance.whole, self._line.prior)
        self._repeats = Repeats(epochs, 1)
        self._sums = np.zeros(5)
        self._within_margin = margin

    def add(self, keys: Any, at: Any, baseline: Any, candidate: Any) -> None:
        """Pairs, as columns."""
        worse = np.clip(baseline, 0, 1) - np.clip(candidate, 0, 1)
        self.last_at = float(np.max(at))
        epochs = np.full(len(keys), self._epoch)
        arms = np.zeros(len(keys), bool)
        first = np.flatnonzero(self._first.chances(keys.tolist(), arms.tolist(), epochs.tolist()) > 0)
        self.harm[0].follow(self._bets(worse[first], np.ones(len(first))))
        reached = self._repeats.add(keys, arms, epochs, worse[:, None], np.full(1, self._mean()))
        for level, means in enumerate(reached, start=1):
            self.harm[level].follow(self._bets(means.scores[:, 0], np.ones(len(means.scores))))
        self._bet_within(worse)
        self._sums += [len(worse), worse.sum(), (worse**2).sum(), baseline.sum(), candidate.sum()]

    def _bet_within(self, worse: Any) -> None:
        line = self._within_margin
        won = self._line(line - worse, np.full(len(worse), 1 - line))
        self._within.follow_tempered(won, float(self._repeats.dispersion()[0]))

    def _mean(self) -> float:
        return float(self._sums[1] / max(self._sums[0], 1))

    @property
    def counts(self) -> tuple[int, int]:
        return int(self._sums[0]), int(self._sums[0])

    def within(self) -> float:
        return self._within.progress

    def interval(self) -> Interval | None:
        count = self._sums[0]
        if not count:
            return None
        mean = self._mean()
        variance = max(0.0, (self._sums[2] + 1) / (count + 1) - (self._sums[1] / (count + 1)) ** 2)
        dispersion = float(self._repeats.dispersion()[0])
        half = radius((variance / count * dispersion) ** 0.5, count / dispersion, self.allowance.whole)
        return mean, mean - half, mean + half

    def values(self) -> str:
        count = max(self._sums[0], 1)
        return (
            f"mean {self._sums[4] / count:.3f} over {int(self._sums[0]):,} pairs, "
            f"{self._sums[3] / count:.3f} on the baseline"
        )

    def dump(self) -> dict[str, Any]:
        return super().dump() | {
            "first": self._first.dump(),
            "within": self._within.dump(),
            "repeats": self._repeats.dump(),
            "sums": self._sums.tolist(),
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        super().restore(dumped)
        self._first.restore(dumped["first"])
        self._within.restore(dumped["within"])
        self._repeats.restore(dumped["repeats"])
        self._sums = np.asarray(dumped["sums"], float)
