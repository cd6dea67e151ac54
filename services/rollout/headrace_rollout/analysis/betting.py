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
    """Log of a fortune that began with 1, its peak, and the goal: 1 / alpha.

    Part of it is kept back in cash and flows little by little into the bets anew. So a candidate that was good for long
    has not lost everything for those who bet against it, and turning bad is seen (tracking the best expert: Herbster &
    Warmuth 1998).
    """

    CASH = 0.02
    FLOW = 0.003
    """Part of the cash that flows at a time."""

    def __init__(self, alpha: float, prior: Array) -> None:
        self.alpha = alpha
        self.goal = math.log(1 / alpha)
        self.now = 0.0
        self.peak = 0.0
        self._prior = prior / prior.sum()
        # cash first; of the fortune, or, for bets that are aimed, of what it would be if they were not
        self._log_parts = np.log(np.concatenate(([self.CASH], (1 - self.CASH) * self._prior)))

    @property
    def shown(self) -> bool:
        """Whether the goal was reached, at any time."""
        return self.peak >= self.goal * _ALMOST

    @property
    def evidence(self) -> float:
        """From 0 to 1: how far it has come on the way to the goal."""
        return 1.0 if self.shown else min(1.0, max(0.0, self.now / self.goal))

    def flow(self, times: float = 1.0) -> None:
        """Let cash flow into the bets."""
        stays = (1 - self.FLOW) ** times
        parts = self._log_parts
        parts[1:] = np.logaddexp(parts[1:], parts[0] + math.log(1 - stays) + np.log(self._prior))
        parts[0] += math.log(stays)

    def dump(self) -> list[Any]:
        """What `restore` takes."""
        return [self.now, self.peak, self._log_parts.tolist()]

    def restore(self, dumped: list[Any]) -> None:
        """Go on where `dump` was."""
        self.now, self.peak = float(dumped[0]), float(dumped[1])
        parts = np.asarray(dumped[2], float)
        if parts.shape != self._log_parts.shape:
            raise ValueError("the state is of another version")
        self._log_parts = parts


class EventBets(Fortune):
    """Bets on the arms of keys to which the same thing happened, one after the other.

    The alternatives are ratios of the candidate's rate to the baseline's, and the bet is the mean of what they say,
    weighted by how well each did: the fortune is about as large as if the best had been known.

    Bets are then aimed. What a last win brings beyond the goal would be lost (the overshoot of Wald's test), so where
    one win may do, it leads exactly to it. Before that, bets are a little smaller or larger than those that grow best
    in the long run, by how many of their wins are left.
    """

    AIM = 1.4
    """How many wins of the bet that grows best may be left for the next win to be made to lead to the goal."""
    _LEFT, _TIMES = (AIM, 2.3, 2.5, 3.0, 6.0), (0.88, 1.09, 1.0, 1.08, 1.13)
    """With more wins left, what a win brings, in that of the bet that grows best. The bets of the best stopping rule
    for the default alternatives are like that, found by going backwards from all ways in which arms can fall."""

    def __init__(self, alpha: float, prior: Sequence[float]) -> None:
        super().__init__(alpha, np.asarray(prior, float))

    def add(self, on_candidate: bool, chance: float, ratios: Array) -> None:
        """The arm of a key, the chance, inside 0 to 1, that it would be the candidate, and the alternatives now."""
        if self.shown:
            return
        p, parts = chance, self._log_parts
        ratios = np.concatenate(([1.0], ratios))
        scale = 1 - p + p * ratios
        shares = np.exp(parts - parts.max())
        bet = self._aimed(float(shares @ (p * ratios / scale) / shares.sum()), p)
        self.now += math.log(bet / p) if on_candidate else math.log((1 - bet) / (1 - p))
        parts += (np.log(ratios) if on_candidate else 0.0) - np.log(scale)
        self.flow()
        self.peak = max(self.peak, self.now)

    def _aimed(self, bet: float, p: float) -> float:
        gain, left = math.log(bet / p), self.goal - self.now
        if gain < 1e-9:
            return bet
        wins = left / gain
        won = left if wins <= self.AIM else gain * float(np.interp(wins, self._LEFT, self._TIMES))
        # at odds so good that a win is almost sure, no more than almost everything
        return min(p * math.exp(won), 1 - 0.01 * (1 - p))


class Bets(Fortune):
    """Any bets, several alternatives at once: the fortune is the mean over them."""

    EVERY = 32
    """Bets after which cash flows."""

    def follow(self, won: Array) -> None:
        """Logs of what each alternative wins with each of some values, in order."""
        if not len(won):
            return
        parts = self._log_parts
        paths = np.cumsum(won, axis=0) + parts[1:]
        fortunes = np.logaddexp(log_sum_exp(paths), parts[0])
        parts[1:] = paths[-1]
        self.now = float(fortunes[-1])
        self.peak = max(self.peak, float(fortunes.max()))
        self.flow(len(won) / self.EVERY)


class TemperedBets(Bets):
    """Bets on all requests, several of a key, whose values are worth 1 / dispersion each.

    A sum of such values varies `dispersion` times as much as that of independent ones, so all that was won is divided
    by it: right where sums are about normal, tested by simulation elsewhere. What is won far beyond the goal is given
    away, so that the past cannot outweigh for long what comes later.
    """

    SPARE = 0.3
    """Log of what is kept beyond the goal."""

    def __init__(self, alpha: float, prior: Array) -> None:
        super().__init__(alpha, prior)
        self._began = self._log_parts.copy()
        self._dispersion = 1.0

    @property
    def progress(self) -> float:
        """From 0 to 1: how far it is on the way to the goal now."""
        return min(1.0, max(0.0, self.now / self.goal))

    def follow_tempered(self, won: Array, dispersion: float) -> None:
        """As `follow`, with the dispersion that is known by now: it holds for what was won before, too."""
        self._log_parts[:] = self._began + (self._log_parts - self._began) * (self._dispersion / dispersion)
        self._dispersion = dispersion
        self.follow(won / dispersion)
        excess = self.now - self.goal - self.SPARE
        if excess > 0:
            self._log_parts -= excess
            self.now -= excess

    def dump(self) -> list[Any]:
        """What `restore` takes."""
        return [*super().dump(), self._dispersion]

    def restore(self, dumped: list[Any]) -> None:
        """Go on where `dump` was."""
        super().restore(dumped)
        self._dispersion = float(dumped[3])


class ArmBets:
    """Bets on the arm of a key, given scores: the more a score is above its middle, the more on the candidate.

    An alternative is a score and a tilt `t`: the odds of the candidate grow by exp(t x (score - middle)). Negative
    tilts bet that the candidate's scores are lower.
    """

    def __init__(self, *tilts: Sequence[float]) -> None:
        """`tilts` by score."""
        sizes = [len(of_score) for of_score in tilts]
        self._tilts = np.concatenate([np.asarray(of_score, float) for of_score in tilts])
        self._score = np.repeat(np.arange(len(tilts)), sizes)
        self.prior: Array = 1 / np.asarray(sizes, float)[self._score]

    def __call__(self, scores: Array, middles: Array, candidate: Flags, chance: Array) -> Array:
        """Logs of what is won with scores of keys (a row a key), their middles, arms, and chances inside 0 to 1."""
        tilted = (scores - middles)[:, self._score] * self._tilts
        won: Array = np.where(candidate[:, None], tilted, 0.0) - np.log1p(chance[:, None] * np.expm1(tilted))
        return won


class LineBets:
    """Bets that the mean of values lies below a line; each alternative stakes a share of the most that can be staked.

    Values need only be bounded: Waudby-Smith & Ramdas, *Estimating means of bounded random variables by betting*, 2024.
    """

    def __init__(self, shares: Sequence[float] = (0.04, 0.1, 0.2, 0.35, 0.55, 0.8)) -> None:
        self._shares = np.asarray(shares)
        self.prior: Array = np.ones(len(shares))

    def __call__(self, below: Array, worst: Array) -> Array:
        """Logs of what is won: how far values lie below the line, and how far above it each could have been (> 0)."""
        won: Array = np.log1p(self._shares * (below / worst)[:, None])
        return won


def log_sum_exp(logs: Array) -> Array:
    """Log of the sum of exp, over the last axis."""
    top = logs.max(axis=-1)
    total: Array = top + np.log(np.exp(logs - top[..., None]).sum(axis=-1))
    return total
