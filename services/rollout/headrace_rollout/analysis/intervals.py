"""Estimates, and intervals that hold at all times at once: for people to read, beside the tests that decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace_rollout.analysis.betting import Array, Flags, Integers
from headrace_rollout.analysis.reference import quantile_of

_TIGHTEST = 1_000.0
"""Values of the candidate at which intervals are tightest, compared with what they could be at best."""


def radius(standard_error: float, values: float, alpha: float) -> float:
    """Half the width of an interval around a mean: a normal mixture (Robbins 1970; asymptotic for other laws).

    Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, *Time-uniform central limit theory and asymptotic confidence
    sequences*, 2024, theorem 2.2.
    """
    prior = (2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha)) + 1) / _TIGHTEST * max(values, 1e-9)
    return standard_error * math.sqrt((1 + 1 / prior) * math.log((1 + prior) / alpha**2))


class Difference:
    """Difference of the arms' means, over the times with the same weight (Mantel and Haenszel's weights)."""

    def __init__(self) -> None:
        # by epoch: values, sum, sum of squares; baseline, then candidate
        self._sums = np.zeros((0, 2, 3))

    def add(self, values: Array, candidate: Flags, epochs: Integers) -> None:
        """Values of outcomes."""
        if not len(values):
            return
        missing = int(epochs.max()) + 1 - len(self._sums)
        if missing > 0:
            self._sums = np.concatenate((self._sums, np.zeros((missing, 2, 3))))
        rows = np.stack((np.ones_like(values), values, values**2), axis=1)
        np.add.at(self._sums, (epochs, candidate.astype(int)), rows)

    @property
    def counts(self) -> tuple[int, int]:
        """Values of the baseline and of the candidate."""
        baseline, candidate = self._sums[:, :, 0].sum(axis=0)
        return int(baseline), int(candidate)

    def means(self) -> tuple[float, float]:
        """Of the baseline and of the candidate."""
        count, total, _ = self._sums.sum(axis=0).T
        baseline, candidate = total / np.maximum(count, 1)
        return float(baseline), float(candidate)

    def ratio(self, weights: Sequence[float], guess: float) -> float:
        """How many times as often the candidate's outcomes have a value as the baseline's, by the weights of epochs.

        It begins with 1, which counts as `guess` values on each side.
        """
        p = np.asarray(weights[: len(self._sums)], float)
        baseline, candidate = self._sums[:, :, 0].T
        return float((candidate @ (1 - p) + guess) / (baseline @ p + guess))

    def interval(self, alpha: float, dispersion: float) -> tuple[float, float, float] | None:
        """Estimate, low and high of candidate minus baseline; None without values on both sides."""
        both = self._sums[(self._sums[:, :, 0] > 0).all(axis=1)]
        if not len(both):
            return None
        count, total, squares = (both[:, :, of] for of in range(3))
        means = total / count
        # a value more on each side, of the largest size: so that no variance is 0 where nothing has happened yet
        variance = (squares + 1) / (count + 1) - (total / (count + 1)) ** 2
        weight = count.prod(axis=1) / count.sum(axis=1)
        weight = weight / weight.sum()
        estimate = float(weight @ (means[:, 1] - means[:, 0]))
        error = math.sqrt(float((weight**2) @ (variance / count).sum(axis=1)) * dispersion)
        half = radius(error, float(count[:, 1].sum()) / dispersion, alpha)
        return estimate, estimate - half, estimate + half

    def dump(self) -> list[Any]:
        """What `restore` takes."""
        return list(self._sums.tolist())

    def restore(self, dumped: list[Any]) -> None:
        """Go on where `dump` was."""
        self._sums = np.asarray(dumped, float).reshape(-1, 2, 3)


class Sample:
    """A sample of each arm's values, for quantiles: every value, then every second, every fourth, ..."""

    MOST = 2_048

    def __init__(self) -> None:
        self._values = [np.zeros(0), np.zeros(0)]
        self._epochs = [np.zeros(0, np.int64), np.zeros(0, np.int64)]
        self._every = [1, 1]
        self.counts = [0, 0]

    def add(self, values: Array, candidate: Flags, epochs: Integers) -> None:
        """Values of outcomes."""
        for arm, mine in enumerate((~candidate, candidate)):
            every = self._every[arm]
            begin = -self.counts[arm] % every
            self._values[arm] = np.concatenate((self._values[arm], values[mine][begin::every]))
            self._epochs[arm] = np.concatenate((self._epochs[arm], epochs[mine][begin::every]))
            self.counts[arm] += int(mine.sum())
            while len(self._values[arm]) > self.MOST:
                self._values[arm], self._epochs[arm] = self._values[arm][::2], self._epochs[arm][::2]
                self._every[arm] *= 2

    def interval(self, judged: str, alpha: float, dispersion: float) -> tuple[float, float, float] | None:
        """Estimate, low and high of the candidate's value relative to the baseline's: 0.2 is a fifth more.

        For quantiles from the order statistics of both arms, between which the true ones lie at all times; baseline
        values count by how many of the candidate's came under the same weight.
        """
        arms, epochs = self._values, self._epochs
        if min(len(arms[0]), len(arms[1])) < 2:
            return None
        most = max(int(epochs[0].max()), int(epochs[1].max())) + 1
        by_epoch = [np.bincount(of_arm, minlength=most).astype(float) for of_arm in epochs]
        share = np.divide(by_epoch[1], by_epoch[0], out=np.zeros(most), where=by_epoch[0] > 0)
        weights = [share[epochs[0]], np.ones(len(arms[1]))]
        if not weights[0].any():
            return None
        quantile = quantile_of(judged)
        ends = [
            (
                _mean(*of_arm, alpha / 2, dispersion)
                if quantile is None
                else _order(*of_arm, quantile, alpha / 2, dispersion)
            )
            for of_arm in zip(arms, weights, strict=True)
        ]
        (base, base_low, base_high), (value, low, high) = ends
        if base <= 0:
            return None
        worst = low / base_high - 1 if base_high > 0 else -1.0
        return value / base - 1, worst, high / base_low - 1 if base_low > 0 else math.inf

    def dump(self) -> list[Any]:
        """What `restore` takes."""
        rounded = [[float(f"{value:.6g}") for value in kept.tolist()] for kept in self._values]
        return [rounded, [kept.tolist() for kept in self._epochs], self._every, self.counts]

    def restore(self, dumped: list[Any]) -> None:
        """Go on where `dump` was."""
        self._values = [np.asarray(kept, float) for kept in dumped[0]]
        self._epochs = [np.asarray(kept, np.int64) for kept in dumped[1]]
        self._every, self.counts = [*dumped[2]], [*dumped[3]]


def _order(
    values: Array, weights: Array, quantile: float, alpha: float, dispersion: float
) -> tuple[float, float, float]:
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    total = weights.sum()
    count = total**2 / (weights**2).sum() / dispersion
    half = radius(math.sqrt(quantile * (1 - quantile) / count), count, alpha) + 1 / count
    places = (np.cumsum(weights) - weights / 2) / total

    def at(level: float) -> float:
        if level <= 0:
            return 0.0
        return math.inf if level >= 1 else float(np.interp(level, places, values))

    return at(quantile), at(quantile - half), at(quantile + half)


def _mean(values: Array, weights: Array, alpha: float, dispersion: float) -> tuple[float, float, float]:
    values = np.minimum(values, np.quantile(values, 0.995))
    mean = float(np.average(values, weights=weights))
    variance = float(np.average((values - mean) ** 2, weights=weights))
    count = weights.sum() ** 2 / (weights**2).sum() / dispersion
    half = radius(math.sqrt(variance / count), count, alpha)
    return mean, max(0.0, mean - half), mean + half
