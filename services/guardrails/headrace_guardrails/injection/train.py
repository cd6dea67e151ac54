"""Train an ensemble: fit, cross-validate by source, calibrate, and choose thresholds for a budget of false positives.

A detector that remembers phrases does well on rows that it has seen the likes of. So nothing here is judged by rows:
each source of texts is held out whole, and what the ensemble says of it then is what thresholds are chosen by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace_guardrails.injection.ensemble import MOST_LOG_ODDS, Ensemble

Floats = NDArray[np.float64]

_EMBEDDING_SCALE = 2.0
_CLASSIFIER_SCALE = 0.15
"""How much of the penalty each part pays: smaller parts are trusted less."""
_PENALTY = 5.0
_STEPS = 30
_ROUNDS = 2
_SOURCE_POWER = 0.6


@dataclass(frozen=True, slots=True)
class Rows:
    """Pieces of texts. `text` numbers the text that a piece is of; `log_odds` is None without a classifier."""

    vectors: Floats
    forms: Floats
    log_odds: Floats | None
    text: NDArray[np.int64]

    def design(self) -> Floats:
        """All columns, each at the scale that its penalty is meant for, and a last one of ones."""
        parts = [self.vectors * _EMBEDDING_SCALE, self.forms]
        if self.log_odds is not None:
            parts.append(np.clip(self.log_odds, -MOST_LOG_ODDS, MOST_LOG_ODDS)[:, None] * _CLASSIFIER_SCALE)
        return np.hstack([*parts, np.ones((len(self.vectors), 1))])


def fit(design: Floats, labels: NDArray[np.bool_], weights: Floats, start: Floats | None = None) -> Floats:
    """Weights of a logistic regression with a squared penalty on all but the last column, by Newton's method.

    `start` is where to begin, such as the weights for almost the same texts: it takes fewer steps from there.
    """
    size = design.shape[1]
    beta = np.zeros(size) if start is None else start
    penalty = np.full(size, _PENALTY)
    penalty[-1] = 1e-6
    weights = weights / weights.mean()
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (weights * (chance - labels)) + penalty * beta
        curvature = (design * (weights * chance * (1 - chance) + 1e-9)[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        beta = beta - step
        if np.abs(step).max() < 1e-5:
            break
    return beta


def fit_texts(
    rows: Rows,
    labels: NDArray[np.bool_],
    sources: Sequence[str],
    chosen: NDArray[np.bool_],
    start: Floats | None = None,
) -> Floats:
    """Fit on the texts that are `chosen`; `start` as for `fit`.

    Of an attack only its surest piece counts, of a benign text all: a long attack is mostly harmless words. Sources
    count by the power 0.6 of their number of texts, attacks together as much as the rest.
    """
    design = rows.design()
    of_row = labels[rows.text]
    inside = chosen[rows.text]
    weights = _weights(rows, sources)
    benign = np.flatnonzero(inside & ~of_row)
    attacks = every = np.flatnonzero(inside & of_row)
    if start is not None:
        attacks = _surest(design[every] @ start, rows.text[every], every)
    beta = np.zeros(design.shape[1]) if start is None else start
    for _ in range(_ROUNDS):
        index = np.concatenate([benign, attacks])
        own = weights[index].copy()
        own[of_row[index]] *= own[~of_row[index]].sum() / own[of_row[index]].sum()
        beta = fit(design[index], of_row[index], own, beta)
        attacks = _surest(design[every] @ beta, rows.text[every], every)
    return beta


def _weights(rows: Rows, sources: Sequence[str]) -> Floats:
    names = np.array(sources)
    texts = {name: int((names == name).sum()) for name in set(sources)}
    of_row = names[rows.text]
    pieces = {name: int((of_row == name).sum()) for name in texts}
    return np.array([texts[name] ** _SOURCE_POWER / pieces[name] for name in of_row])


def _surest(scores: Floats, texts: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.int64]:
    order = np.lexsort((scores, texts))
    last = np.append(texts[order][1:] != texts[order][:-1], True)
    found: NDArray[np.int64] = index[order[last]]
    return found


def of_texts(rows: Rows, scores: Floats, texts: int) -> Floats:
    """The surest piece's score, a text each."""
    found = np.full(texts, -np.inf)
    np.maximum.at(found, rows.text, scores)
    return found


def cross_validate(
    rows: Rows, labels: NDArray[np.bool_], sources: Sequence[str], start: Floats, folds: int = 40, seed: int = 0
) -> Floats:
    """What is said of each text by an ensemble that saw nothing of its source.

    A source of attacks and one of benign texts are held out at a time, or several where there are more than `folds`.

    Args:
        rows: pieces of all texts.
        labels: which texts are attacks.
        sources: where each text is from.
        start: weights fitted on everything, from where it is not far to those of a fold.
        folds: most ensembles to train.
        seed: draws which sources share a fold.
    """
    generator = np.random.RandomState(seed)
    names = np.array(sources)
    folds = min(folds, max(len(set(names[labels])), len(set(names[~labels]))))
    fold_of: dict[str, int] = {}
    for label in (True, False):
        known = sorted(set(names[labels == label]))
        fold_of |= {str(name): place % folds for place, name in enumerate(generator.permutation(known))}
    fold = np.array([fold_of[name] for name in sources])
    design = rows.design()
    held_out = np.zeros(len(labels))
    for one in range(folds):
        beta = fit_texts(rows, labels, sources, fold != one)
        scores = of_texts(rows, design @ beta, len(labels))
        held_out[fold == one] = scores[fold == one]
    return held_out


def calibrate(scores: Floats, labels: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and constant that make held-out scores probabilities, attacks and benign texts being as many (Platt)."""
    weights = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum())
    beta = np.array([1.0, 0.0])
    design = np.column_stack([scores, np.ones(len(scores))])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        curvature = (design * (weights * chance * (1 - chance) + 1e-9)[:, None]).T @ design
        beta = beta - np.linalg.solve(curvature + 1e-6 * np.eye(2), design.T @ (weights * (chance - labels)))
    return float(beta[0]), float(beta[1])


def threshold(scores: Floats, benign: NDArray[np.bool_], budget: float) -> float:
    """The least score at which at most a share `budget` of benign texts is flagged."""
    return float(np.quantile(scores[benign], 1 - budget, method="higher")) + 1e-6


def train(
    rows: Rows,
    labels: NDArray[np.bool_],
    sources: Sequence[str],
    budgets: dict[str, tuple[NDArray[np.bool_], float]],
    version: str,
) -> tuple[Ensemble, Floats]:
    """Train on everything; returns the ensemble and the held-out scores that its thresholds were chosen by.

    Args:
        rows: pieces of all texts.
        labels: which texts are attacks.
        sources: where each text is from.
        budgets: by direction, which benign texts count and the share of them that may be flagged.
        version: what findings will carry.
    """
    beta = fit_texts(rows, labels, sources, np.ones(len(labels), bool))
    held_out = cross_validate(rows, labels, sources, beta)
    slope, constant = calibrate(held_out, labels)
    size = rows.vectors.shape[1]
    forms = rows.forms.shape[1]
    thresholds = {}
    for direction, (counted, budget) in budgets.items():
        score = threshold(held_out, counted & ~labels, budget)
        thresholds[direction] = float(1 / (1 + np.exp(-(slope * score + constant))))
    ensemble = Ensemble(
        version=version,
        embedding=beta[:size] * _EMBEDDING_SCALE,
        form=beta[size : size + forms],
        classifier=float(beta[size + forms]) * _CLASSIFIER_SCALE if rows.log_odds is not None else 0.0,
        bias=float(beta[-1]),
        scale=slope,
        offset=constant,
        thresholds=thresholds,
    )
    return ensemble, held_out
