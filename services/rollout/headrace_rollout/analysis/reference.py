"""What values are compared with: those that came last, of both arms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headrace_rollout.analysis.betting import Array

SIZE = 512
LEAST = 30
"""Values without which nothing can be compared."""
CUT = 0.995
"""Quantile at which values are cut for a mean: without a bound on values a mean can hide anything."""

_QUANTILES = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def quantile_of(judged: str) -> float | None:
    """0.95 for `p95`; None for `mean`."""
    return _QUANTILES.get(judged)


class Reference:
    """The last values, and scores from 0 to 1 of others in comparison with them."""

    def __init__(self, values: Sequence[float] = ()) -> None:
        self._values = np.asarray(values, float)
        self._sorted = np.sort(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def add(self, values: Array) -> None:
        """Remember values, and forget the oldest."""
        self._values = np.concatenate((self._values, values))[-SIZE:]
        self._sorted = np.sort(self._values)

    def rank(self, values: Array) -> Array:
        """Share of the values here that are smaller."""
        left = np.searchsorted(self._sorted, values, "left")
        right = np.searchsorted(self._sorted, values, "right")
        share: Array = (left + right) / (2 * len(self._sorted))
        return share

    def score(self, values: Array, judged: str, *, ties: bool = False) -> tuple[Array, float]:
        """For a quantile whether values exceed it (with `ties`, or equal it), for the mean how large they are.

        And the mean of that here.
        """
        quantile = quantile_of(judged)
        if quantile is None:
            top = max(float(self._at(CUT)), 1e-12)
            return np.clip(values / top, 0, 1), float(np.clip(self._sorted / top, 0, 1).mean())
        exceeds = np.greater_equal if ties else np.greater
        threshold = self._at(quantile)
        return exceeds(values, threshold).astype(float), float(exceeds(self._sorted, threshold).mean())

    def _at(self, quantile: float) -> float:
        return float(self._sorted[int(quantile * (len(self._sorted) - 1) + 0.5)])

    def dump(self) -> list[float]:
        """What the constructor takes."""
        return [float(f"{value:.6g}") for value in self._values]
