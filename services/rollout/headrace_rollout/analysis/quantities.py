"""How large something is: latencies, tokens, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headrace_rollout.analysis.betting import ArmBets, Array, Bets, Flags, Integers, LineBets, TemperedBets
from headrace_rollout.analysis.chunk import Chunk
from headrace_rollout.analysis.intervals import Sample
from headrace_rollout.analysis.judge import FIRST, Allowance, Interval, LiveJudge
from headrace_rollout.analysis.keys import Epochs
from headrace_rollout.analysis.reference import LEAST, Reference, quantile_of
from headrace_rollout.analysis.repeats import LEVELS, Repeats

RANK_TILTS = (0.4, 0.9, 1.8, 3.5, 7.0, 12.0)
EXCEEDS_TILTS = (0.3, 0.6, 1.1, 1.8, 3.0)
MEAN_TILTS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
WITHIN_TILTS = (-0.08, -0.16, -0.3, -0.6, -1.2, -2.4)


class QuantityJudge(LiveJudge):
    """Judges how large a quantity is.

    Harm: values of the candidate are divided by 1 + `line`, which is half of the margin. Were it no worse than that,
    then its values would not tend to be larger now. It is bet on the arm of each key by the rank of its
    value, and by what is judged: whether it exceeds a quantile, or how large it is. No law of values is assumed: how
    heavy their tails are makes no difference.

    Within the margin: the candidate's values are divided by 1 + margin, and it is bet that now they are smaller.
    """

    unit = "share"
    harm: tuple[Bets, ...]

    def __init__(self, name: str, margin: float, judged: Sequence[str], allowance: Allowance, epochs: Epochs) -> None:
        super().__init__(name, margin, margin / 2, allowance, epochs)
        self.judged = tuple(judged)
        self._reference, self._strict = Reference(), Reference()
        again = (1 - FIRST) / len(LEVELS)
        tilts = (MEAN_TILTS if quantile_of(of) is None else EXCEEDS_TILTS for of in self.judged)
        self._bets = ArmBets(RANK_TILTS, *tilts)
        self.harm = tuple(Bets(allowance.harm * part, self._bets.prior) for part in (FIRST, *(again for _ in LEVELS)))
        self._lower = ArmBets(WITHIN_TILTS)
        self._line = LineBets()
        self._within = {
            of: TemperedBets(allowance.whole, (self._line if quantile_of(of) is None else self._lower).prior)
            for of in self.judged
        }
        self._repeats = Repeats(epochs, 1 + len(self.judged))
        self._sample = Sample()

    def add(self, chunk: Chunk) -> None:
        """Outcomes; those without a value are left out, and values that cannot be."""
        values = chunk.column(self.name)
        there = np.flatnonzero(np.isfinite(values) & (values >= 0))
        if not len(there):
            return
        values, candidate, weight = values[there], chunk.candidate[there], chunk.weight[there]
        keys, epochs = chunk.keys[there], chunk.epochs[there]
        if candidate.any():
            self.last_at = float(chunk.at[there][candidate].max())
        fair = np.where(candidate, values / (1 + self.line), values)
        if len(self._reference) >= LEAST:
            scores, middles = self._scores(fair)
            self._bet_harm(chunk, there, scores, middles)
            for level, means in enumerate(self._repeats.add(keys, candidate, epochs, scores, middles), start=1):
                self.harm[level].follow(self._bets(means.scores, middles, means.candidate, means.chance))
            if len(self._strict) >= LEAST:
                self._bet_within(values, candidate, weight)
        self._reference.add(fair)
        self._strict.add(values[~candidate])
        self._sample.add(values, candidate, epochs)

    def _scores(self, fair: Array) -> tuple[Array, Array]:
        judged = [self._reference.score(fair, of) for of in self.judged]
        scores = np.stack([self._reference.rank(fair), *(score for score, _ in judged)], axis=1)
        return scores, np.asarray([0.5, *(middle for _, middle in judged)])

    def _bet_harm(self, chunk: Chunk, there: Integers, scores: Array, middles: Array) -> None:
        chance = chunk.first_answer[there]
        bet = np.flatnonzero(chance > 0)
        if not len(bet):
            return
        won = self._bets(scores[bet], middles, chunk.candidate[there[bet]], chance[bet])
        self.harm[0].follow(won)
        self.follow_segments(chunk, there[bet], won)

    def _bet_within(self, values: Array, candidate: Flags, weight: Array) -> None:
        fair = np.where(candidate, values / (1 + self.margin), values)
        for (of, bets), dispersion in zip(self._within.items(), self._repeats.dispersion()[1:].tolist(), strict=True):
            scores, middle = self._strict.score(fair, of, ties=True)
            if quantile_of(of) is None:
                worse = (scores - middle) * np.where(candidate, 1 / weight, -1 / (1 - weight))
                won = self._line(-worse, np.maximum((1 - middle) / weight, middle / (1 - weight)))
            else:
                won = self._lower(scores[:, None], np.full(1, middle), candidate, weight)
            bets.follow_tempered(won, dispersion)

    @property
    def counts(self) -> tuple[int, int]:
        return self._sample.counts[0], self._sample.counts[1]

    def within(self) -> float:
        return min(bets.progress for bets in self._within.values())

    def interval(self) -> Interval | None:
        dispersions = self._repeats.dispersion()[1:]
        found = [
            self._sample.interval(of, self.allowance.whole / len(self.judged), float(dispersion))
            for of, dispersion in zip(self.judged, dispersions, strict=True)
        ]
        known = [interval for interval in found if interval is not None]
        # the worst of what is judged
        return max(known) if len(known) == len(found) else None

    def values(self) -> str:
        n0, n1 = self.counts
        return f"{'/'.join(self.judged)} of {n1:,} values, {n0:,} on the baseline"

    def segment_bets(self) -> Bets:
        return Bets(self.allowance.segment, self._bets.prior)

    def dump(self) -> dict[str, Any]:
        return super().dump() | {
            "reference": self._reference.dump(),
            "strict": self._strict.dump(),
            "within": {of: bets.dump() for of, bets in self._within.items()},
            "repeats": self._repeats.dump(),
            "sample": self._sample.dump(),
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        super().restore(dumped)
        self._reference, self._strict = Reference(dumped["reference"]), Reference(dumped["strict"])
        for of, bets in self._within.items():
            bets.restore(dumped["within"][of])
        self._repeats.restore(dumped["repeats"])
        self._sample.restore(dumped["sample"])
