"""From a dataset to a router.

Everything that a later step learns from was predicted for rows that the earlier step did not see (cross-fitting): the
posterior learns from out-of-fold priors, the plan from out-of-fold posteriors, and the calibrations from both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from headrace_router.plan import Members, fit_plan
from headrace_router.predictors import Array, Ints, Predictor, Trees, logit
from headrace_router.router import Head, Router
from headrace_router.state import ASKED, UNASKED
from headrace_router.training.dataset import Dataset, DatasetInvalid
from headrace_router.training.learners import Kind, calibrated, kinds, log_loss, trees
from headrace_router.training.states import (
    Examples,
    heads_rows,
    observe,
    play,
    prior_odds_only,
    qualities,
    rates_of,
    sets,
)

MOST_DEPLOYMENTS = 6
"""Sets of answers double with every deployment."""
_BEHIND = 0.01
"""Nats."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How to train. `deployments` is the most that the router chooses among, `states` the sets of answers that the
    posterior learns from in each row, `tradeoffs` how many values between quality and cost the plan knows; `at`
    names them instead."""

    deployments: int = 5
    folds: int = 5
    states: int = 8
    tradeoffs: int = 28
    seed: int = 0
    at: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Trained:
    """A router, and how it would have done on its own rows out of fold: `scores`, `costs` (trade-offs, rows)."""

    router: Router
    scores: Array
    costs: Array


def shortlist(data: Dataset, most: int) -> list[str]:
    """The deployments worth choosing among: those that none beats at a lower cost, then the best of those left.

    A deployment that costs half of the dearest on the front or more, and is not on it, is left out: as a second
    opinion it would not pay.
    """
    quality, cost = data.scores.mean(axis=0), data.costs.mean(axis=0)
    left = sorted(range(len(cost)), key=lambda place: (cost[place], -quality[place]))
    front: list[int] = []
    for place in left:
        if not front or quality[place] > quality[front[-1]]:
            front.append(place)
    if len(front) > most:  # the ends stay, and the best of those between
        front = sorted({front[-1], *sorted(front[:-1], key=lambda place: -quality[place])[: most - 1]})
    spare = [place for place in left if place not in front and cost[place] < 0.5 * max(cost[one] for one in front)]
    spare.sort(key=lambda place: -quality[place])
    chosen = {*front, *spare[: max(0, most - len(front))]}
    return [data.deployments[place] for place in left if place in chosen]


def train(data: Dataset, options: Options | None = None, say: Say = lambda line: None) -> Trained:
    """Train a router.

    Args:
        data: what is known.
        options: how.
        say: told about progress, a line a step.

    Raises:
        DatasetInvalid: there is too little in it.
    """
    # several threads wait for each other longer than they compute, on rows as few as these
    with threadpool_limits(1):
        return _train(data, options or Options(), say)


def _train(data: Dataset, options: Options, say: Say) -> Trained:
    if not 2 <= options.deployments <= MOST_DEPLOYMENTS:
        raise DatasetInvalid(f"a router chooses among 2 to {MOST_DEPLOYMENTS} deployments")
    data = data.only(shortlist(data, options.deployments))
    scores, costs, features = data.scores, data.costs, data.features()
    count = len(data.deployments)
    folds = _folds(data, options)
    kind, raw = _best(features, scores, data.dimensions, folds, say)
    calibrations = tuple(calibrated(raw[:, place], scores[:, place]) for place in range(count))
    prior = np.column_stack([calibrate(raw[:, place]) for place, calibrate in enumerate(calibrations)])
    rates: tuple[Mapping[str, float], ...]
    if data.has_answers:
        rates = rates_of(data)
        say(f"learning from {count} answers a prompt how they agree")
        asked, unasked, quality = _posterior(data, rates, prior, folds, options)
    else:
        rates = ({},) * count
        asked, unasked = prior_odds_only(ASKED), prior_odds_only(UNASKED)
        quality = {0: prior} | {1 << place: prior for place in range(count)}
    tradeoffs = spread(costs, options.tradeoffs) if options.at is None else np.array(options.at)
    say("learning whom to ask when")
    plan = fit_plan(quality, scores, costs, tradeoffs)
    router = Router(
        deployments=data.deployments,
        rates=rates,
        dimensions=data.dimensions,
        prior=kind.fit(features, scores),
        calibrations=calibrations,
        asked=asked,
        unasked=unasked,
        plan=plan,
        metadata=_metadata(data, options, kind, prior, quality[(1 << count) - 1] if data.has_answers else None),
    )
    honest = _out_of_fold(quality, scores, costs, tradeoffs, folds)
    return Trained(router, *honest)


def spread(costs: Array, count: int) -> Array:
    """Trade-offs from "quality alone" to "cost alone": 0, and then evenly by ratio."""
    mean = costs.mean(axis=0)
    cheap, dear = max(float(mean[mean > 0].min(initial=np.inf)), 1e-12), max(float(mean.max()), 1e-12)
    if not np.isfinite(cheap):
        return np.array([0.0])
    return np.concatenate([[0.0], np.geomspace(0.005 / dear, max(1.0 / cheap, 0.01 / dear), count - 1)])


def _folds(data: Dataset, options: Options) -> list[tuple[Ints, Ints]]:
    groups = np.array(data.groups)
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if sizes.min() < options.folds:  # a group that is too small for every fold has no part of its own
        numbers = np.zeros(len(groups), dtype=int)
    split = StratifiedKFold(options.folds, shuffle=True, random_state=options.seed)
    return list(split.split(np.zeros(len(groups)), numbers))


def _best(
    features: Array, scores: Array, dimensions: int, folds: Sequence[tuple[Ints, Ints]], say: Say
) -> tuple[Kind, Array]:
    """The kind of prior that predicts unseen rows best, and its predictions for them."""
    raw: dict[str, Array] = {}
    first: dict[str, float] = {}
    tried = kinds(len(features), dimensions)

    def predict(kind: Kind, learn: Ints, rest: Ints) -> None:
        raw.setdefault(kind.name, np.empty_like(scores))[rest] = kind.fit(features[learn], scores[learn])(
            features[rest]
        )

    for kind in tried:
        predict(kind, *folds[0])
        first[kind.name] = log_loss(raw[kind.name][folds[0][1]], scores[folds[0][1]])
    # what is clearly behind on the first fold is not tried on the others
    tried = [kind for kind in tried if first[kind.name] <= min(first.values()) + _BEHIND]
    losses = {}
    for kind in tried:
        for learn, rest in folds[1:]:
            predict(kind, learn, rest)
        losses[kind.name] = log_loss(raw[kind.name], scores)
        say(f"predicting by the prompt, {kind.name}: log loss {losses[kind.name]:.4f}")
    best = next(kind for kind in tried if losses[kind.name] <= min(losses.values()) + 1e-4)
    return best, raw[best.name]


def _posterior(
    data: Dataset,
    rates: Sequence[Mapping[str, float]],
    prior: Array,
    folds: Sequence[tuple[Ints, Ints]],
    options: Options,
) -> tuple[Head, Head, dict[Members, Array]]:
    """The two heads, learned from all rows, and the expected qualities of all states out of fold."""
    scores, count = data.scores, len(data.deployments)
    observed, odds = observe(data, rates), logit(prior)
    rng = np.random.default_rng(options.seed)
    every = list(sets(count))
    drawn = [
        every if len(every) <= options.states else sorted(rng.choice(every, options.states, replace=False).tolist())
        for _ in range(len(scores))
    ]
    examples = heads_rows(observed, odds, scores, drawn)
    quality: dict[Members, Array] = {members: np.empty_like(prior) for members in (0, *every)}
    pairs: list[tuple[list[Array], list[Array]]] = [([], []), ([], [])]
    for learn, rest in folds:
        fitted = _fit_heads(examples, learn)
        part = [observed[row] for row in rest]
        found = qualities(part, prior[rest], _column(fitted[0]), _column(fitted[1]), every)
        for members, values in found.items():
            quality[members][rest] = values
            for place in range(count):
                if members:
                    predicted, seen = pairs[0 if members >> place & 1 else 1]
                    predicted.append(values[:, place])
                    seen.append(scores[rest, place])
    maps = [calibrated(np.concatenate(predicted), np.concatenate(seen)) for predicted, seen in pairs]
    for members, values in quality.items():
        for place in range(count):
            if members:
                values[:, place] = maps[0 if members >> place & 1 else 1](values[:, place])
    whole = _fit_heads(examples, np.arange(len(scores)))
    return Head(whole[0], maps[0]), Head(whole[1], maps[1]), quality


def _fit_heads(examples: tuple[Examples, Examples], learn: Ints) -> tuple[Trees, Trees]:
    asked, unasked = (part.of(learn) for part in examples)
    return _fit_head(asked), _fit_head(unasked)


def _fit_head(part: Examples) -> Trees:
    return trees(part.features, part.scores, most=40, leaf=max(10, len(part.scores) // 300))


def _column(predictor: Predictor) -> Callable[[Array], Array]:
    return lambda rows: predictor(rows)[:, 0]


def _out_of_fold(
    quality: dict[Members, Array], scores: Array, costs: Array, tradeoffs: Array, folds: Sequence[tuple[Ints, Ints]]
) -> tuple[Array, Array]:
    got, paid = np.empty((len(tradeoffs), len(scores))), np.empty((len(tradeoffs), len(scores)))
    for learn, rest in folds:
        plan = fit_plan({m: values[learn] for m, values in quality.items()}, scores[learn], costs[learn], tradeoffs)
        there = {m: values[rest] for m, values in quality.items()}
        for place in range(len(tradeoffs)):
            got[place, rest], paid[place, rest], _ = play(plan, place, there, scores[rest], costs[rest])
    return got, paid


def _metadata(data: Dataset, options: Options, kind: Kind, prior: Array, last: Array | None) -> dict[str, object]:
    scores, costs = data.scores, data.costs
    return {
        "dataset": {"sha256": data.digest, "rows": len(data.rows), "left_out": data.left_out},
        "versions": {name: version(name) for name in ("headrace-router", "scikit-learn", "numpy")},
        "options": {"folds": options.folds, "states": options.states, "seed": options.seed},
        "prior": kind.name,
        "features": {"embedding": data.dimensions, "answers": data.has_answers},
        "deployments": {
            name: {
                "mean_score": round(float(scores[:, place].mean()), 4),
                "mean_cost_usd": float(f"{costs[:, place].mean():.4g}"),
                "log_loss": round(log_loss(prior[:, place], scores[:, place]), 4),
                "log_loss_of_mean": round(log_loss(np.full(len(scores), scores[:, place].mean()), scores[:, place]), 4),
                "calibration_error": round(calibration_error(prior[:, place], scores[:, place]), 4),
            }
            | (
                {}
                if last is None
                else {"log_loss_with_all_answers": round(log_loss(last[:, place], scores[:, place]), 4)}
            )
            for place, name in enumerate(data.deployments)
        },
    }


def calibration_error(predicted: Array, scores: Array, bins: int = 10) -> float:
    """Mean distance between predicted and seen over equally full bins."""
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(
        sum(len(part) * abs(predicted[part].mean() - scores[part].mean()) for part in parts) / max(1, len(scores))
    )
