"""scikit-learn's learners, turned into the predictors that a router file holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from headrace_router.predictors import Array, Calibration, Each, Linear, Neighbours, Predictor, Trees, logit, normalised
from headrace_router.prompt import WIDTH

ENOUGH_FOR_ISOTONIC = 200


@dataclass(frozen=True)
class Kind:
    """A way to predict scores from prompts. `fit` takes features and scores (rows, deployments)."""

    name: str
    fit: Callable[[Array, Array], Predictor]


def kinds(rows: int, dimensions: int) -> list[Kind]:
    """What is tried for the prior, the simplest first; among equals the simpler one is taken."""
    tried = [Kind("mean", _mean)]
    tried += [Kind(f"logistic, C={c:g}", partial(linear, c=c)) for c in (0.0003, 0.003, 0.03)]
    tried += [
        Kind(f"{count} neighbours", partial(neighbours, count=count, dimensions=dimensions))
        for count in (20, 60)
        if rows >= 4 * count
    ]
    if rows >= 500:
        tried.append(Kind("boosted trees", _each))
    return tried


def weighted(features: Array, scores: Array) -> tuple[Array, Array, Array]:
    """A score between 0 and 1 as two rows, right and wrong, with weights: what a classifier can learn from."""
    right, wrong = scores > 0, scores < 1
    return (
        np.vstack([features[right], features[wrong]]),
        np.concatenate([np.ones(right.sum()), np.zeros(wrong.sum())]),
        np.concatenate([scores[right], 1 - scores[wrong]]),
    )


def _mean(features: Array, scores: Array) -> Predictor:
    return Linear(np.zeros((features.shape[1], scores.shape[1])), logit(scores.mean(axis=0)))


def _each(features: Array, scores: Array) -> Predictor:
    leaf = max(20, len(features) // 50)
    return Each(tuple(trees(features, column, most=30, leaf=leaf) for column in scores.T))


def linear(features: Array, scores: Array, c: float) -> Predictor:
    """A logistic regression for each deployment, on standardised features; `c` is the inverse of the penalty."""
    middle, spread = features.mean(axis=0), features.std(axis=0)
    spread[spread < 1e-9] = np.inf
    weights, bias = [], []
    for column in scores.T:
        x, y, weight = weighted((features - middle) / spread, column)
        if y.min() == y.max():
            weights.append(np.zeros(features.shape[1]))
            bias.append(float(logit(column.mean())))
            continue
        fitted = LogisticRegression(C=c, max_iter=500).fit(x, y, sample_weight=weight)
        scaled = fitted.coef_[0] / spread
        weights.append(scaled)
        bias.append(float(fitted.intercept_[0] - scaled @ middle))
    return Linear(np.array(weights).T, np.array(bias))


def neighbours(features: Array, scores: Array, count: int, dimensions: int) -> Predictor:
    """Nearest neighbours by embedding, or by hashed words where there is none."""
    scale = np.zeros(features.shape[1])
    if dimensions:
        scale[WIDTH:] = 1.0
    else:
        spread = features.std(axis=0)
        scale[spread > 1e-9] = 1 / spread[spread > 1e-9]
    return Neighbours(scale, normalised(features * scale), scores, count)


def trees(features: Array, scores: Array, *, most: int = 60, leaf: int = 20) -> Trees:
    """Boosted trees for one score; `leaf` is the least number of rows in a leaf."""
    x, y, weight = weighted(features, scores)
    if y.min() == y.max():
        none = np.zeros((1, 1))
        zero = np.zeros((1, 1), dtype=np.int64)
        return Trees(zero, none, zero, zero, np.zeros((1, 1), dtype=bool), none, float(logit(scores.mean())), 0)
    # a column that is never known has no bins; as zeros it is never split
    x[:, np.isnan(x).all(axis=0)] = 0.0
    fitted = HistGradientBoostingClassifier(
        max_iter=most,
        learning_rate=0.15,
        max_leaf_nodes=10,
        max_bins=63,
        min_samples_leaf=leaf,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=0,
    ).fit(x, y, sample_weight=weight)
    return exported(fitted)


def exported(fitted: HistGradientBoostingClassifier) -> Trees:
    """A fitted classifier's trees. scikit-learn has no public way to its nodes; a test holds them to its results."""
    grown = [stage[0].nodes for stage in fitted._predictors]
    width = max(map(len, grown))
    feature = np.zeros((len(grown), width), dtype=np.int64)
    threshold, value = np.zeros((len(grown), width)), np.zeros((len(grown), width))
    left = np.tile(np.arange(width, dtype=np.int64), (len(grown), 1))
    right, missing_left = left.copy(), np.zeros((len(grown), width), dtype=bool)
    for place, nodes in enumerate(grown):
        inner = ~nodes["is_leaf"].astype(bool)
        count = len(nodes)
        feature[place, :count][inner] = nodes["feature_idx"][inner]
        threshold[place, :count][inner] = np.minimum(nodes["num_threshold"][inner], np.finfo(float).max)
        left[place, :count][inner] = nodes["left"][inner]
        right[place, :count][inner] = nodes["right"][inner]
        missing_left[place, :count][inner] = nodes["missing_go_to_left"][inner].astype(bool)
        value[place, :count] = nodes["value"]
    depth = int(max(nodes["depth"].max() for nodes in grown))
    return Trees(
        feature, threshold, left, right, missing_left, value, float(np.ravel(fitted._baseline_prediction)[0]), depth
    )


def calibrated(predicted: Array, scores: Array) -> Calibration:
    """Predictions of rows that were not learned from, mapped onto their scores: isotonic regression; with few rows
    Platt's logistic one, which bends less to chance."""
    if len(scores) >= ENOUGH_FOR_ISOTONIC:
        fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(predicted, scores)
        return Calibration(np.asarray(fitted.X_thresholds_, float), np.clip(fitted.y_thresholds_, 0.0, 1.0))
    x = np.linspace(0.0, 1.0, 33)
    rows, y, weight = weighted(logit(predicted)[:, None], scores)
    if y.min() == y.max():
        return Calibration(np.array([0.5]), np.array([float(scores.mean())]))
    fitted = LogisticRegression(C=1.0).fit(rows, y, sample_weight=weight)
    slope = max(0.0, float(fitted.coef_[0, 0]))
    return Calibration(x, 1 / (1 + np.exp(-(slope * logit(x) + float(fitted.intercept_[0])))))


def log_loss(predicted: Array, scores: Array) -> float:
    """Mean surprise in nats."""
    kept = np.clip(predicted, 0.01, 0.99)
    return float(-(scores * np.log(kept) + (1 - scores) * np.log1p(-kept)).mean())
