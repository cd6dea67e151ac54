"""Rankings of different ways of searching made into one, by their scores as shares of the best.

Ranks alone throw away how much better the first is than the second. Scores of different kinds have no common scale, but
each has a natural zero: BM25 gives 0 to a passage without any of the words, and a similarity of vectors is nothing
where it is no more than a passage of the collection has on average. Above its zero, a score counts as its share of the
best one in its ranking (Bruch, Gai and Ingber, ACM TOIS 2023, call this a convex combination with theoretical minimum).
Nothing here is fitted to a collection.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Ranking(Generic[T]):
    """Items and their scores, best first. `zero` is the score of an item that has nothing to do with the query."""

    hits: Sequence[tuple[T, float]]
    zero: float = 0.0


def fuse(rankings: Sequence[Ranking[T]], ways: int = 2) -> list[tuple[T, float]]:
    """Merge rankings, best first.

    An item scores the mean, over the ways of searching, of its share of the best score; 0 where it was not found. A
    ranking without a score above its zero counts by its order alone. Equal scores keep the order in which the items
    were first met, so the result is the same every time.

    Args:
        ways: by how many ways an item can be found; collections with different embeddings have a ranking each, and a
            passage is in one of them.
    """
    scores: dict[T, float] = {}
    for ranking in rankings:
        best = ranking.hits[0][1] - ranking.zero if ranking.hits else 0.0
        for place, (item, score) in enumerate(ranking.hits, 1):
            share = max(0.0, score - ranking.zero) / best if best > 0 else 1 / (len(ranking.hits) + place)
            scores[item] = scores.get(item, 0.0) + share / ways
    return sorted(scores.items(), key=lambda scored: -scored[1])


def probabilities(scores: Sequence[float]) -> list[float]:
    """What a cross-encoder gave, as probabilities: log odds by the logistic function, and what is from 0 to 1 as it is.

    Averaged with the share that a passage had before, they let a good model put right what is wrong, and a weak one do
    little harm: models are trained on other texts than those they are asked about.
    """
    if all(0 <= score <= 1 for score in scores):
        return list(scores)
    return [1 / (1 + math.exp(-min(max(score, -500.0), 500.0))) for score in scores]
