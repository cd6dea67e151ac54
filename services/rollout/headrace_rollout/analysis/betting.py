"""Tests by betting: a fortune that grows where a hypothesis is wrong, and cannot be expected to where it is right.

Whoever bets at fair odds multiplies the fortune by 20 at any time whatever with probability 1/20 at most (Ville's
inequality), so a hypothesis may be looked at after every value: Shafer, *Testing by betting*, 2021; Ramdas, Grünwald,
Vovk, Shafer, *Game-theoretic statistics and safe anytime-valid inference*, 2023.

What harm is judged by is the arm of a key. Keys are put on arms by chance, with odds that are known: where the
candidate makes no difference, nothing that requests do tells their arm, whatever the law of outcomes, its drift and its
bursts. So these tests assume no law of outcomes, only that each key is bet on once (see `keys`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]

_ALMOST = 1 - 1e-12


class Fortune:
    """Log of a fortune that began with 1, its peak, and the goal: 1 / alpha."""

    def __init__(self, alpha: float, tilts: int) -> None:
        self.alpha = alpha
        self.goal = math.log(1 / alpha)
        self.gains = np.zeros(tilts)
        self.now = 0.0
        self.peak = 0.0

    @property
    def shown(self) -> bool:
        """Whether the goal was reached, at any time."""
        return self.peak >= self.goal * _ALMOST

    @property
    def evidence(self) -> float:
        """From 0 to 1: how far it has come on the way to the goal."""
        return 1.0 if self.shown else min(1.0, max(0.0, self.now / self.goal))

    def dump(self) -> list[Any]:
        """What `restore` takes."""
        return [self.now, self.peak, self.gains.tolist()]

    def restore(self, dumped: list[Any]) -> None:
        """Go on where `dump` was."""
        self.now, self.peak = float(dumped[0]), float(dumped[1])
        gains = np.asarray(dumped[2], float)
        if gains.shape != self.gains.shape:
            raise ValueError("the state is of another version")
        self.gains = gains


class EventBets(Fortune):
    """Bets on the arms of keys to which the same thing happened, one after the other.

    The alternatives are ratios of the candidate's rate to the baseline's, and the bet is the mean of what they say,
    weighted by how well each did: the fortune is about as large as if the best had been known.

    Bets are then aimed: made a little smaller or larger, such that a whole number of wins leads exactly to the goal.
    What a last win brings beyond it would be lost (the overshoot of Wald's test, here about a tenth of the time).
    """

    def __init__(self, ratios: Sequence[float], alpha: float, prior: Sequence[float] | None = None) -> None:
        super().__init__(alpha, len(ratios))
        self._ratios = np.asarray(ratios, float)
        self._log_ratios = np.log(self._ratios)
        weights = np.ones(len(ratios)) if prior is None else np.asarray(prior, float)
        self._prior = np.log(weights / weights.sum())

    def add(self, candidate: Sequence[bool], chance: Sequence[float]) -> None:
        """Arms of keys, and the chances, inside 0 to 1, that each would be the candidate."""
        for on_candidate, p in zip(candidate, chance, strict=True):
            if self.shown:
                return
            scale = 1 - p + p * self._ratios
            posterior = np.exp((scores := self._prior + self.gains) - scores.max())
            bet = self._aimed(float(posterior @ (p * self._ratios / scale) / posterior.sum()), p)
            self.now += math.log(bet / p) if on_candidate else math.log((1 - bet) / (1 - p))
            self.gains += (self._log_ratios if on_candidate else 0.0) - np.log(scale)
            self.peak = max(self.peak, self.now)

    def _aimed(self, bet: float, p: float) -> float:
        gain, left = math.log(bet / p), self.goal - self.now
        if gain < 1e-9:
            return bet
        wins = max(1, math.ceil(left / gain - 0.25))
        # at odds so good that a win is almost sure, no more than almost everything
        return min(p * math.exp(left / wins), 1 - 0.01 * (1 - p))


class ScoreBets(Fortune):
    """Bets on the arms of keys, given scores: the more a score is above its middle, the more on the candidate.

    An alternative is a score and a tilt `t`: the odds of the candidate grow by exp(t x (score - middle)). The fortune
    is the mean over the alternatives. Negative tilts bet that the candidate's scores are lower.
    """

    def __init__(self, tilts: Sequence[Sequence[float]], alpha: float) -> None:
        """`tilts` by score."""
        super().__init__(alpha, sum(len(of_score) for of_score in tilts))
        self._tilts = np.concatenate([np.asarray(of_score, float) for of_score in tilts])
        self._score = np.repeat(np.arange(len(tilts)), [len(of_score) for of_score in tilts])
        sizes = np.asarray([len(of_score) for of_score in tilts], float)
        self._prior = -np.log(len(tilts) * sizes[self._score])

    def add(self, scores: Array, middles: Array, candidate: Flags, chance: Array) -> None:
        """Scores of keys (a row a key), the middle of each score, arms, and chances of the candidate inside 0 to 1."""
        if not len(scores):
            return
        paths = np.cumsum(self.bets(scores, middles, candidate, chance), axis=0) + self.gains
        self.gains = paths[-1]
        fortunes = log_sum_exp(paths + self._prior)
        self.now = float(fortunes[-1])
        self.peak = max(self.peak, float(fortunes.max()))

    def bets(self, scores: Array, middles: Array, candidate: Flags, chance: Array) -> Array:
        """Logs of what each alternative wins with each key."""
        tilted = (scores - middles)[:, self._score] * self._tilts
        p = chance[:, None]
        won: Array = np.where(candidate[:, None], tilted, 0.0) - np.log1p(p * np.expm1(tilted))
        return won

    def tempered(self, dispersion: float) -> float:
        """Log of the fortune if values were worth 1 / `dispersion` each."""
        return float(log_sum_exp((self.gains / dispersion + self._prior)[None, :])[0])


class LineBets(Fortune):
    """Bets that the mean of values lies below a line; each alternative stakes a share of the most that can be staked.

    Values need only be bounded: Waudby-Smith & Ramdas, *Estimating means of bounded random variables by betting*, 2024.
    """

    SHARES = (0.01, 0.03, 0.08, 0.2, 0.45, 0.8)

    def __init__(self, alpha: float, shares: Sequence[float] = SHARES) -> None:
        super().__init__(alpha, len(shares))
        self._prior = np.full(len(shares), -math.log(len(shares)))
        self._shares = np.asarray(shares)

    def add(self, below: Array, worst: Array) -> None:
        """How far values lie below the line, and how far above it each could have been (more than 0)."""
        if not len(below):
            return
        paths = np.cumsum(np.log1p(self._shares * (below / worst)[:, None]), axis=0) + self.gains
        self.gains = paths[-1]
        fortunes = log_sum_exp(paths + self._prior)
        self.now = float(fortunes[-1])
        self.peak = max(self.peak, float(fortunes.max()))

    def tempered(self, dispersion: float) -> float:
        """Log of the fortune if values were worth 1 / `dispersion` each."""
        return float(log_sum_exp((self.gains / dispersion + self._prior)[None, :])[0])


def log_sum_exp(logs: Array) -> Array:
    """Log of the sum of exp, over the last axis."""
    top = logs.max(axis=-1)
    total: Array = top + np.log(np.exp(logs - top[..., None]).sum(axis=-1))
    return total
