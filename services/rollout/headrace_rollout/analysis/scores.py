"""How good answers are: scores of live answers, and of both arms' answers to the same request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace_rollout.analysis.betting import ArmBets, Array, Bets, Flags, LineBets, TemperedBets
from headrace_rollout.analysis.chunk import Chunk
from headrace_rollout.analysis.intervals import radius
from headrace_rollout.analysis.judge import FIRST, Allowance, Interval, Judge
from headrace_rollout.analysis.keys import Epochs, FirstTime
from headrace_rollout.analysis.repeats import LEVELS, Repeats
from headrace_rollout.analysis.shares import ShareJudge

TILTS = (0.4, 0.9, 1.8, 3.5, 7.0)
PAIR_SHARES = (0.04, 0.1, 0.2, 0.33, 0.5, 0.75)


class ScoreJudge(ShareJudge):
    """Judges scores from 0 to 1 of live answers. Higher is better, so what is bet on is what they lack to 1.

    Not all answers have a score, and those of one arm may have one more often: people say more of what is new to them.
    That alone is neither harm nor good. So a score is high or low beside the mean of all, and where the arms of scores
    are evidently not those of keys, the odds are those by which answers of either arm have a score.
    """

    GUESS = 2.0
    """Scores on each side that the guess counts as that both arms have them equally often."""
    EVIDENT = 2.0
    """Standard errors by which the arms of keys with a score may differ from their odds."""

    harm: tuple[Bets, ...]

    def __init__(self, name: str, margin: float, allowance: Allowance, epochs: Epochs) -> None:
        super().__init__(name, margin, allowance, epochs)
        self._first = FirstTime(epochs, 8_192)
        again = (1 - FIRST) / len(LEVELS)
        self._bets = ArmBets(TILTS)
        self.harm = tuple(Bets(allowance.harm * part, self._bets.prior) for part in (FIRST, *(again for _ in LEVELS)))
        self._of_segments: dict[str, list[float]] = {}
        # of keys with a score: how many on either arm, each by the chance of the other, and the variance of that
        self._tossed = np.zeros(3)

    def add(self, chunk: Chunk) -> None:
        """Outcomes; those without this score are left out."""
        there = ~np.isnan(chunk.column(self.name))
        if not there.any():
            return
        chunk = chunk.only(there)
        lacks = 1 - np.clip(chunk.column(self.name), 0, 1)
        if chunk.candidate.any():
            self.last_at = float(chunk.at[chunk.candidate].max())
        # The mean may be of these scores too: where the candidate makes no difference, none of them tells an arm.
        middle = np.full(1, self._mean(float(lacks.sum()), len(lacks)))
        self._bet_on_first(chunk, lacks, middle)
        reached = self._repeats.add(chunk.keys, chunk.candidate, chunk.epochs, lacks[:, None], middle)
        for level, means in enumerate(reached, start=1):
            self.harm[level].follow(self._bets(means.scores, middle, means.candidate, means.chance))
        ratio = self._difference.ratio(self.epochs.weights, self.GUESS)
        self._bet_within(lacks, chunk, _at(ratio, chunk.weight), self._mean(5, 10))

    def _bet_on_first(self, chunk: Chunk, lacks: Array, middle: Array) -> None:
        """Bet on the arms of keys that have their first score, over all and in each segment."""
        keys, candidate, epochs = chunk.keys.tolist(), chunk.candidate.tolist(), chunk.epochs.tolist()
        chance = self._first.chances(keys, candidate, epochs)
        tossed = (chance > 0) & (chance < 1)
        p, arms = chance[tossed], chunk.candidate[tossed]
        on_candidate, on_baseline, variance = self._tossed
        if abs(on_candidate - on_baseline) > self.EVIDENT * variance**0.5:
            chance = _at((on_candidate + self.GUESS) / (on_baseline + self.GUESS), chance)
        self._tossed += [(1 - p) @ arms, p @ ~arms, p @ (1 - p)]

        def won(of: Flags, middle: Array) -> Array:
            return self._bets(lacks[of, None], middle, chunk.candidate[of], chance[of])

        if tossed.any():
            self.harm[0].follow(won(tossed, middle))
        for label, of_label in chunk.groups.items():
            here = np.zeros(len(chunk), bool)
            here[of_label] = True
            if not here.any():
                continue
            known = self._of_segments.setdefault(label, [0.0, 0.0])
            known[0] += float(here.sum())
            known[1] += float(lacks[here].sum())
            if (tossed & here).any():
                bets = self.segment(label)
                assert isinstance(bets, Bets)
                bets.follow(won(tossed & here, np.full(1, known[1] / known[0])))

    def values(self) -> str:
        (n0, n1), (m0, m1) = self._difference.counts, self._difference.means()
        return f"mean {1 - m1:.3f} of {n1:,} scores, {1 - m0:.3f} of {n0:,} on the baseline"

    def segment_bets(self) -> Bets:
        return Bets(self.allowance.segment, self._bets.prior)

    def dump(self) -> dict[str, Any]:
        return super().dump() | {
            "first": self._first.dump(),
            "of_segments": self._of_segments,
            "tossed": self._tossed.tolist(),
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        super().restore(dumped)
        self._first.restore(dumped["first"])
        self._of_segments = {label: [float(sum_) for sum_ in known] for label, known in dumped["of_segments"].items()}
        self._tossed = np.asarray(dumped["tossed"], float)


def _at(ratio: float, chance: Array) -> Array:
    """Chances of the candidate among what it has `ratio` times as often as the baseline."""
    return ratio * chance / (1 - chance + ratio * chance)


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
