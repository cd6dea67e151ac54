"""Evaluation of fitted predictors: numpy alone, the same for one row and for many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


def sigmoid(score: Array) -> Array:
    """Log odds as probabilities; no overflow at any score."""
    return 0.5 * (1.0 + np.tanh(0.5 * score))


def logit(share: Array) -> Array:
    """Probabilities as log odds, kept off 0 and 1."""
    kept = np.clip(share, 0.01, 0.99)
    return np.log(kept) - np.log1p(-kept)


@dataclass(frozen=True)
class Calibration:
    """A monotone map of predictions onto what was observed: `rises` from x to y, flat outside (isotonic regression)."""

    x: Array
    y: Array

    def __call__(self, predicted: Array) -> Array:
        """Calibrated predictions."""
        return np.interp(predicted, self.x, self.y)


@dataclass(frozen=True)
class Linear:
    """Logistic regressions with the same inputs: a column of weights for each output."""

    weights: Array
    bias: Array

    def __call__(self, rows: Array) -> Array:
        """Probabilities, a column for each output."""
        return sigmoid(rows @ self.weights + self.bias)


@dataclass(frozen=True)
class Neighbours:
    """Mean score of the `count` training rows that are nearest by cosine, each input times `scale`."""

    scale: Array
    rows: Array
    scores: Array
    count: int

    def __call__(self, rows: Array) -> Array:
        """Mean scores, a column for each output."""
        near = normalised(rows * self.scale) @ self.rows.T
        nearest = np.argpartition(near, -self.count, axis=1)[:, -self.count :]
        return np.asarray(self.scores[nearest].mean(axis=1))


def normalised(rows: Array) -> Array:
    """Rows of length 1."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


@dataclass(frozen=True)
class Trees:
    """Boosted trees for one output. Node 0 of each tree is its root; a leaf is its own child.

    `feature`, `threshold`, `left`, `right`, `value` are (trees, nodes); at or below the threshold it goes left, and a
    value that is missing (NaN) goes where `missing_left` says.
    """

    feature: Ints
    threshold: Array
    left: Ints
    right: Ints
    missing_left: NDArray[np.bool_]
    value: Array
    bias: float
    depth: int

    def __call__(self, rows: Array) -> Array:
        """Probabilities, one column."""
        count = len(self.value)
        tree = np.arange(count)
        at = np.zeros((len(rows), count), dtype=np.int64)
        line = np.arange(len(rows))[:, None]
        for _ in range(self.depth):
            seen = rows[line, self.feature[tree, at]]
            goes_left = np.where(np.isnan(seen), self.missing_left[tree, at], seen <= self.threshold[tree, at])
            at = np.where(goes_left, self.left[tree, at], self.right[tree, at])
        return sigmoid(self.bias + self.value[tree, at].sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Each:
    """A predictor of its own for each output."""

    parts: tuple[Trees, ...]

    def __call__(self, rows: Array) -> Array:
        """Probabilities, a column for each output."""
        return np.hstack([part(rows) for part in self.parts])


Predictor = Linear | Neighbours | Trees | Each
