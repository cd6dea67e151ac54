"""nDCG@10, recall and reciprocal rank of rankings, by `ir-measures`; intervals and paired tests over the queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import ir_measures
import numpy as np
from scipy import stats

from headrace_evals.ranking.judged import Judged

MEASURES = ("nDCG@10", "R@10", "R@100", "RR@10")
"""As `ir-measures` writes them: gain of the first ten, recall at ten and at a hundred, reciprocal rank."""

_RESAMPLES = 10_000
_SEED = 20_240_101

Ranking = Mapping[str, Sequence[str]]
"""Documents by query, best first, each once."""

Scores = Mapping[str, tuple[float, ...]]
"""By measure, a value a query, in the order of the data set's queries."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over queries with its 95% interval, by bootstrap over queries."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """The mean of one ranking minus another's on the same queries, its 95% interval, and p of a permutation test.

    p is two-sided: how often a difference as large comes about when the signs of the queries' differences are thrown.
    """

    value: float
    low: float
    high: float
    p: float


def documents_of(found: Sequence[str]) -> list[str]:
    """Documents in the order of their first passage."""
    return list(dict.fromkeys(found))


def score(judged: Judged, ranking: Ranking, measures: Sequence[str] = MEASURES) -> dict[str, tuple[float, ...]]:
    """Measure a ranking. A query without an answer scores 0."""
    wanted = [ir_measures.parse_measure(name) for name in measures]
    run = {
        query: {document: float(-rank) for rank, document in enumerate(ranking.get(query, ()))}
        for query in judged.queries
    }
    grades = {query: {id: max(grade, 0) for id, grade in judged.grades[query].items()} for query in judged.queries}
    values = {name: dict.fromkeys(judged.queries, 0.0) for name in measures}
    names = dict(zip(wanted, measures, strict=True))
    for metric in ir_measures.iter_calc(wanted, grades, run):
        values[names[metric.measure]][metric.query_id] = metric.value
    return {name: tuple(of.values()) for name, of in values.items()}


def mean(values: Sequence[float]) -> Mean:
    """A mean with its interval, the same on each run."""
    return Mean(float(np.mean(values)), *_interval(np.asarray(values)))


def compare(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Compare two rankings on the same queries, the same way on each run."""
    apart = np.asarray(after) - np.asarray(before)
    if not apart.any():
        return Difference(0.0, 0.0, 0.0, 1.0)
    tested = stats.permutation_test(
        (apart,), lambda one, axis: np.mean(one, axis=axis), permutation_type="samples", n_resamples=_RESAMPLES,
        vectorized=True, random_state=np.random.default_rng(_SEED),
    )  # fmt: skip
    return Difference(float(apart.mean()), *_interval(apart), float(tested.pvalue))


def _interval(values: np.ndarray) -> tuple[float, float]:
    drawn = np.random.default_rng(_SEED)
    chosen = drawn.integers(0, len(values), (_RESAMPLES, len(values)), dtype=np.int32)
    low, high = np.quantile(values[chosen].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)
