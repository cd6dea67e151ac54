"""Reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)
K = 60
"""The constant of the original paper; it damps how much the very first ranks count."""


def fuse(rankings: Iterable[Sequence[T]], k: int = K) -> list[tuple[T, float]]:
    """Merge rankings, best first.

    Each item scores the sum of 1/(k + its rank) over the rankings that have it, ranks from 1. Equal scores keep the
    order in which the items were first met, so the result is the same every time.
    """
    scores: dict[T, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (k + rank)
    return sorted(scores.items(), key=lambda scored: -scored[1])
