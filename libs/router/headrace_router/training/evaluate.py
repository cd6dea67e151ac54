"""How a router does on rows that it was not trained on, at every trade-off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace_router.plan import Members
from headrace_router.predictors import Array, Ints
from headrace_router.prompt import WIDTH
from headrace_router.router import Router
from headrace_router.training.dataset import Dataset, DatasetInvalid
from headrace_router.training.states import observe, play, qualities, sets


@dataclass(frozen=True)
class Played:
    """The score and the cost of every row at every trade-off (trade-offs, rows), and the sets that were asked."""

    scores: Array
    costs: Array
    asked: Ints


def expected(router: Router, data: Dataset) -> dict[Members, Array]:
    """The expected quality of each deployment in each state of each row, as `Episode` has it.

    Raises:
        DatasetInvalid: the rows lack the embeddings that the router wants, or a deployment.
    """
    data = data.only(router.deployments)
    if router.dimensions and data.dimensions != router.dimensions:
        raise DatasetInvalid(
            f"the router wants an embedding of {router.dimensions} numbers for each row, the rows have "
            f"{data.dimensions or 'none'}: embed them as it was trained (--embed or --onnx)"
        )
    features = data.features()[:, : WIDTH + router.dimensions]
    prior = router.priors(features)
    count = len(router.deployments)
    if not data.has_answers:
        return {0: prior} | {1 << place: prior for place in range(count)}
    return qualities(observe(data, router.rates), prior, router.asked, router.unasked, list(sets(count)))


def evaluate(router: Router, data: Dataset) -> Played:
    """Play every trade-off of the router's plan on every row."""
    data = data.only(router.deployments)
    quality = expected(router, data)
    results = [
        play(router.plan, place, quality, data.scores, data.costs) for place in range(len(router.plan.tradeoffs))
    ]
    scores, costs, asked = zip(*results, strict=True)
    return Played(np.array(scores), np.array(costs), np.array(asked))
