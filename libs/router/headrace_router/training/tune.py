"""From a target to a setting: thresholds of a signal, or the trade-off of a router.

What is reported is honest: the setting is chosen on one half of the rows and judged on the other, both ways round, so
that no row speaks about a setting that it helped to choose. The setting that is handed out is then chosen on all rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from headrace_router.predictors import Array, Ints
from headrace_router.training.dataset import Dataset, DatasetInvalid

_POINTS = {1: 61, 2: 21, 3: 9}
"""Thresholds tried for each stage, by how many stages have one."""


class NoSetting(ValueError):
    """No setting reaches the target with the confidence that was asked for."""


@dataclass(frozen=True)
class Target:
    """What is wanted. Exactly one of the two is set.

    `most_loss` is a share of the quality of the best single deployment: at 0.02, the cheapest setting that keeps 98% of
    it. `most_usd` is a mean cost of a request: the best setting within it. `confidence` is how sure the rows must make
    us, one-sided; 0.5 takes their means as they are.
    """

    most_loss: float | None = None
    most_usd: float | None = None
    confidence: float = 0.9

    def __post_init__(self) -> None:
        if (self.most_loss is None) == (self.most_usd is None):
            raise DatasetInvalid("a target is either a quality loss or a budget")
        if self.most_loss is not None and not 0 <= self.most_loss < 1:
            raise DatasetInvalid("a quality loss is 0% or more, and below 100%")
        if self.most_usd is not None and self.most_usd <= 0:
            raise DatasetInvalid("a budget is above 0")
        if not 0.5 <= self.confidence < 1:
            raise DatasetInvalid("a confidence is 0.5 or more, and below 1")


@dataclass(frozen=True)
class Table:
    """What every setting would have done with every row: `scores` and `costs` (settings, rows).

    `values` are the settings; `single_scores` and `single_costs` (rows, deployments) those of single deployments.
    """

    values: tuple[tuple[float, ...], ...]
    scores: Array
    costs: Array
    single_scores: Array
    single_costs: Array


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Tuned:
    """The setting, chosen on all rows, and what it may be expected to do, judged on rows that did not choose it.

    `quality` and `cost` are shares of the best single deployment's, `usd` the mean cost of a request.
    `in_sample` is the pair of quality and cost on the rows that chose it: a reading to be distrusted.
    """

    place: int
    value: tuple[float, ...]
    quality: Estimate
    cost: Estimate
    usd: Estimate
    in_sample: tuple[float, float]
    halves: tuple[tuple[float, ...], tuple[float, ...]]


def tune(table: Table, target: Target, seed: int = 0) -> Tuned:
    """Choose a setting.

    Raises:
        NoSetting: none reaches the target, on all rows or on one of the halves.
    """
    rows = np.random.default_rng(seed).permutation(table.scores.shape[1])
    first, second = np.sort(rows[: len(rows) // 2]), np.sort(rows[len(rows) // 2 :])
    everything = np.arange(len(rows))
    place = choose(table, target, everything)
    by_first, by_second = choose(table, target, first), choose(table, target, second)
    best = int(table.single_scores.mean(axis=0).argmax())
    scores = np.concatenate([table.scores[by_first, second], table.scores[by_second, first]])
    costs = np.concatenate([table.costs[by_first, second], table.costs[by_second, first]])
    judged = np.concatenate([second, first])
    best_scores, best_costs = table.single_scores[judged, best], table.single_costs[judged, best]
    return Tuned(
        place,
        table.values[place],
        quality=ratio(scores, best_scores, seed),
        cost=ratio(costs, best_costs, seed),
        usd=ratio(costs, np.ones_like(costs), seed),
        in_sample=(
            float(table.scores[place].mean() / max(best_scores.mean(), 1e-12)),
            float(table.costs[place].mean() / max(best_costs.mean(), 1e-12)),
        ),
        halves=(table.values[by_first], table.values[by_second]),
    )


def choose(table: Table, target: Target, rows: Ints) -> int:
    """The setting that the target asks for, by some rows. Raises NoSetting."""
    scores, costs = table.scores[:, rows], table.costs[:, rows]
    z = NormalDist().inv_cdf(target.confidence)
    if target.most_loss is not None:
        best = table.single_scores[rows][:, table.single_scores[rows].mean(axis=0).argmax()]
        kept = scores - (1 - target.most_loss) * best
        sure = kept.mean(axis=1) - z * kept.std(axis=1, ddof=1) / np.sqrt(len(rows)) >= -1e-12
        if not sure.any():
            least = 1 - scores.mean(axis=1).max() / max(float(best.mean()), 1e-12)
            raise NoSetting(
                f"no setting loses at most {target.most_loss:.2%} of the best deployment's quality with confidence "
                f"{target.confidence:g}: the least loss is {least:.2%}; allow more, or bring more rows"
            )
        return int(np.where(sure, costs.mean(axis=1), np.inf).argmin())
    assert target.most_usd is not None
    most = costs.mean(axis=1) + z * costs.std(axis=1, ddof=1) / np.sqrt(len(rows))
    if not (most <= target.most_usd).any():
        raise NoSetting(
            f"no setting costs at most ${target.most_usd:g} a request: the cheapest costs ${most.min():.6f}"
        )
    return int(np.where(most <= target.most_usd, scores.mean(axis=1), -np.inf).argmax())


def ratio(values: Array, of: Array, seed: int, draws: int = 2000) -> Estimate:
    """The ratio of two means over the same rows, with a 95% interval by the bootstrap."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(values), (draws, len(values)))
    below = of[drawn].mean(axis=1)
    found = values[drawn].mean(axis=1) / np.where(below > 0, below, np.inf)
    low, high = np.percentile(found, [2.5, 97.5])
    return Estimate(float(values.mean() / max(float(of.mean()), 1e-12)), float(low), float(high))


def signal_table(data: Dataset, stages: Sequence[str], signal: str) -> Table:
    """A cascade of `stages` in order, each but the last with a threshold: an answer whose signal is below it, or that
    has none, goes on. Every answer that is asked for is paid.

    Raises:
        DatasetInvalid: the signal was not recorded, or there are too many stages.
    """
    data = data.only(stages)
    judged = len(stages) - 1
    if judged not in _POINTS:
        raise DatasetInvalid(f"thresholds are tuned for 2 to {len(_POINTS) + 1} stages, not {len(stages)}")
    values = np.array(
        [[row.signals.get(name, {}).get(signal, -np.inf) for name in stages[:-1]] for row in data.rows]
    ).reshape(len(data.rows), judged)
    grids = []
    for place, name in enumerate(stages[:-1]):
        known = values[:, place][np.isfinite(values[:, place])]
        if len(known) < len(values) / 2:
            raise DatasetInvalid(f"fewer than half of the rows have the signal {signal!r} of {name!r}")
        quantiles = np.quantile(known, np.linspace(0, 1, _POINTS[judged]))
        # nothing is above the last one: that stage is always passed on
        grids.append(sorted({float(f"{value:.4g}") for value in quantiles} | {float(f"{known.max() + 1e-3:.4g}")}))
    settings = list(itertools.product(*grids))
    scores, costs = data.scores, data.costs
    got, paid = np.empty((len(settings), len(scores))), np.empty((len(settings), len(scores)))
    for place, thresholds in enumerate(settings):
        passed = np.ones(len(scores), dtype=bool)
        paid[place] = costs[:, 0]
        got[place] = scores[:, 0]
        for stage, threshold in enumerate(thresholds):
            passed = passed & (values[:, stage] < threshold)
            got[place] = np.where(passed, scores[:, stage + 1], got[place])
            paid[place] += np.where(passed, costs[:, stage + 1], 0.0)
    return Table(tuple(settings), got, paid, scores, costs)
