"""Intervals for means of scores and their differences. Pure, and the same on each run."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

RESAMPLES = 2000
_SEED = 20_240_101


class Interval(NamedTuple):
    """A value with its confidence interval, and the method that made it."""

    value: float
    low: float
    high: float
    method: str


def binomial_interval(successes: int, n: int, alpha: float) -> tuple[float, float]:
    """Clopper and Pearson's exact interval (Biometrika 1934) for a probability; 0 to 1 where n is 0."""
    if n == 0:
        return 0.0, 1.0
    low = 0.0 if successes == 0 else _solve(lambda p: 1 - _below(successes - 1, n, p) - alpha / 2)
    high = 1.0 if successes == n else _solve(lambda p: alpha / 2 - _below(successes, n, p))
    return low, high


def shared_difference(worse: int, better: int, n: int, alpha: float) -> tuple[float, float]:
    """Exact interval of the mean difference of paired yes-or-no scores, of which only those pairs tell that differ.

    Each of both shares has an exact interval at `alpha / 2`, so the difference has one at `alpha`, whatever n is.
    """
    worse_low, worse_high = binomial_interval(worse, n, alpha / 2)
    better_low, better_high = binomial_interval(better, n, alpha / 2)
    return max(-1.0, better_low - worse_high), min(1.0, better_high - worse_low)


def mean_difference(baseline: Sequence[float], candidate: Sequence[float], alpha: float) -> Interval:
    """Mean of candidate - baseline over the same items: exact where all scores are yes or no, else by bootstrap."""
    differences = [c - b for b, c in zip(baseline, candidate, strict=True)]
    value = math.fsum(differences) / len(differences)
    if all(score in (0.0, 1.0) for score in (*baseline, *candidate)):
        worse = sum(difference < 0 for difference in differences)
        better = sum(difference > 0 for difference in differences)
        return Interval(value, *shared_difference(worse, better, len(differences), alpha), "exact")
    low, high = bootstrap(len(differences), lambda chosen: _mean([differences[i] for i in chosen]), alpha)
    # Differences that hardly ever happen may be in no resample: no interval is narrower than what "none of n" tells.
    rare = binomial_interval(sum(d != 0 for d in differences), len(differences), alpha)[1]
    spread = max((abs(d) for d in differences), default=0.0) or 1.0
    if sum(d != 0 for d in differences) < 10:
        low, high = min(low, value - rare * spread), max(high, value + rare * spread)
    return Interval(value, max(-1.0, low), min(1.0, high), "bootstrap")


def ratio(
    baseline: Sequence[float], candidate: Sequence[float], statistic: Callable[[Sequence[float]], float], alpha: float
) -> Interval:
    """A statistic of the candidate as a multiple of the baseline's, on the same items, by bootstrap over items.

    Where the baseline's is 0: 1 if the candidate's is too, else infinite.
    """

    def of(chosen: Sequence[int]) -> float:
        below = statistic([baseline[i] for i in chosen])
        above = statistic([candidate[i] for i in chosen])
        if below == 0:
            return 1.0 if above == 0 else math.inf
        return above / below

    everything = range(len(baseline))
    low, high = bootstrap(len(baseline), of, alpha)
    return Interval(of(everything), low, high, "bootstrap")


def bootstrap(n: int, statistic: Callable[[Sequence[int]], float], alpha: float) -> tuple[float, float]:
    """Percentile interval (Efron 1979) of a statistic of n items, by resampling their numbers."""
    drawn = random.Random(_SEED)  # noqa: S311  (the same answers for the same items)
    values = sorted(statistic(drawn.choices(range(n), k=n)) for _ in range(RESAMPLES))
    cut = alpha / 2 * (RESAMPLES - 1)
    return values[math.floor(cut)], values[math.ceil(RESAMPLES - 1 - cut)]


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def statistic_of(name: str) -> Callable[[Sequence[float]], float]:
    """`mean`, or a quantile such as `p95`."""
    if name == "mean":
        return _mean
    share = int(name[1:]) / 100
    return lambda values: quantile(values, share)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _below(successes: int, n: int, p: float) -> float:
    """Probability of at most so many successes."""
    if p <= 0:
        return 1.0
    if p >= 1:
        return float(successes >= n)
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
        for k in range(successes + 1)
    ]
    top = max(logs)
    return min(1.0, math.exp(top) * math.fsum(math.exp(one - top) for one in logs))


def _solve(grows: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if grows(middle) > 0 else (middle, high)
    return (low + high) / 2
