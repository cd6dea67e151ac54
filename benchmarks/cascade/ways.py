"""The ways to choose that are compared, each as what it does with rows that its router was not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace_router.predictors import Array
from headrace_router.router import Router
from headrace_router.training.curve import Curve
from headrace_router.training.dataset import Dataset
from headrace_router.training.evaluate import expected
from headrace_router.training.fit import Trained
from headrace_router.training.states import play

ROUTING, CASCADING, CASCADE_ROUTING = "predictive routing", "cascading", "cascade routing"
WAYS = (ROUTING, CASCADING, CASCADE_ROUTING)
THRESHOLDS = np.concatenate([[0.0], np.linspace(0.3, 1.0, 36), [1.01]])
POINTS = 28


@dataclass
class Judged:
    """Scores and costs of every row under every setting of a way (settings, rows), filled fold by fold."""

    scores: Array
    costs: Array

    def curve(self, name: str) -> Curve:
        """The mean of each setting."""
        return Curve(name, self.costs.mean(axis=1), self.scores.mean(axis=1))

    def of(self, rows: NDArray[np.integer]) -> Judged:
        """Some of the rows."""
        return Judged(self.scores[:, rows], self.costs[:, rows])


def empty(rows: int) -> dict[str, Judged]:
    """Nothing judged yet."""
    sizes = {ROUTING: POINTS, CASCADING: len(THRESHOLDS), CASCADE_ROUTING: POINTS}
    return {way: Judged(np.zeros((size, rows)), np.zeros((size, rows))) for way, size in sizes.items()}


def judge(router: Router, mean_costs: Array, data: Dataset) -> dict[str, tuple[Array, Array]]:
    """What each way does with rows, by one router.

    Args:
        router: trained on others.
        mean_costs: of its deployments, on the rows that it was trained on: all that routing knows of cost.
        data: the rows.
    """
    data = data.only(router.deployments)
    scores, costs = data.scores, data.costs
    quality = expected(router, data)
    rows = np.arange(len(scores))
    routed, cascaded, played = [], [], []
    for tradeoff in router.plan.tradeoffs:
        chosen = (quality[0] - tradeoff * mean_costs).argmax(axis=1)
        routed.append((scores[rows, chosen], costs[rows, chosen]))
    order = [int(place) for place in np.argsort(mean_costs)]
    for threshold in THRESHOLDS:
        cascaded.append(_cascade(quality, order, float(threshold), scores, costs))
    for place in range(len(router.plan.tradeoffs)):
        got, paid, _ = play(router.plan, place, quality, scores, costs)
        played.append((got, paid))
    return {
        way: (np.array([one for one, _ in results]), np.array([two for _, two in results]))
        for way, results in ((ROUTING, routed), (CASCADING, cascaded), (CASCADE_ROUTING, played))
    }


def _cascade(
    quality: dict[int, Array], order: list[int], threshold: float, scores: Array, costs: Array
) -> tuple[Array, Array]:
    """From the cheapest to the dearest, until the newest answer is expected to be good enough."""
    got, paid = np.zeros(len(scores)), np.zeros(len(scores))
    going, members = np.ones(len(scores), dtype=bool), 0
    for number, place in enumerate(order):
        members |= 1 << place
        paid[going] += costs[going, place]
        got[going] = scores[going, place]
        if number < len(order) - 1:
            going &= quality[members][:, place] < threshold
    return got, paid


def chosen(trained: Trained, best: Array, most_loss: float) -> int:
    """The cheapest trade-off that kept the quality on the training rows, out of fold; the best one where none did."""
    kept = trained.scores.mean(axis=1) >= (1 - most_loss) * best.mean()
    if not kept.any():
        return int(trained.scores.mean(axis=1).argmax())
    return int(np.where(kept, trained.costs.mean(axis=1), np.inf).argmin())
