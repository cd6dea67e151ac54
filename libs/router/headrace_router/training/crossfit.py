"""What routers trained on the other rows would do with each row: how a way of training does, not one router."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from headrace_router.predictors import Array, Ints
from headrace_router.training.dataset import Dataset
from headrace_router.training.evaluate import evaluate
from headrace_router.training.fit import Options, Say, shortlist, spread, train
from headrace_router.training.tune import Table


def splits(data: Dataset, folds: int, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """Rows to learn from and rows to judge by, every row judged once, groups spread evenly."""
    groups = np.array(data.groups)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    number = np.empty(len(groups), dtype=np.int64)
    number[order] = np.arange(len(groups)) % folds
    for fold in range(folds):
        yield np.flatnonzero(number != fold), np.flatnonzero(number == fold)


def crossfit(data: Dataset, options: Options, say: Say, folds: int = 5) -> Table:
    """The table of a router's trade-offs, each row judged by a router that was trained without it."""
    data = data.only(shortlist(data, options.deployments))
    tradeoffs: Array = spread(data.costs, options.tradeoffs)
    scores, costs = np.empty((len(tradeoffs), len(data.rows))), np.empty((len(tradeoffs), len(data.rows)))
    for number, (learn, rest) in enumerate(splits(data, folds, options.seed), 1):
        say(f"fold {number} of {folds}")
        trained = train(data.take(learn.tolist()), replace(options, at=tuple(tradeoffs.tolist())))
        played = evaluate(trained.router, data.take(rest.tolist()))
        scores[:, rest], costs[:, rest] = played.scores, played.costs
    return Table(tuple((float(value),) for value in tradeoffs), scores, costs, data.scores, data.costs)
