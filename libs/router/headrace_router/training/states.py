"""The states that a dataset's rows can be in, their features, and the expected qualities there; and a plan played."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headrace_router.plan import Members, Plan
from headrace_router.predictors import Array, Calibration, Ints, Linear, logit
from headrace_router.router import Head
from headrace_router.state import ASKED, UNASKED, Observed
from headrace_router.training.dataset import Dataset

_CHUNK = 8192
_ORDINARY = 16
"""Conclusions whose shares are kept, a deployment."""

Scorer = Callable[[Array], Array]


def rates_of(data: Dataset) -> tuple[Mapping[str, float], ...]:
    """How often each deployment gives which conclusion, of those it gives to at least 1 in 50 prompts."""
    found = []
    for place in range(len(data.deployments)):
        counts: dict[str, int] = {}
        if data.has_answers:
            for row in range(len(data.rows)):
                if (final := data.answer(row, place).final) is not None and len(final) <= 64:
                    counts[final] = counts.get(final, 0) + 1
        usual = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_ORDINARY]
        found.append({final: count / len(data.rows) for final, count in usual if count >= len(data.rows) / 50})
    return tuple(found)


def observe(data: Dataset, rates: Sequence[Mapping[str, float]]) -> list[Observed]:
    """Every row with all its answers."""
    seen = []
    for row in range(len(data.rows)):
        observed = Observed(rates)
        for place in range(len(data.deployments)):
            observed.add(place, data.answer(row, place))
        seen.append(observed)
    return seen


def sets(count: int) -> range:
    """All sets of deployments that may have answered."""
    return range(1, 1 << count)


def members_of(members: Members, count: int) -> list[int]:
    """The deployments in a set."""
    return [place for place in range(count) if members >> place & 1]


@dataclass(frozen=True)
class Examples:
    """What a head of the posterior learns from: features, scores, and the row of the dataset that each is of."""

    features: Array
    scores: Array
    rows: Ints

    def of(self, rows: Ints) -> Examples:
        """Those of some rows."""
        kept = np.isin(self.rows, rows)
        return Examples(self.features[kept], self.scores[kept], self.rows[kept])


def heads_rows(
    observed: Sequence[Observed], odds: Array, scores: Array, drawn: Sequence[Sequence[Members]]
) -> tuple[Examples, Examples]:
    """What the two heads learn from: of deployments that were asked, and of those that were not.

    Args:
        observed: all answers of each row.
        odds: the prior's log odds of each row.
        scores: of each row.
        drawn: the sets that are looked at, for each row.
    """
    count = scores.shape[1]
    found: tuple[list[list[float]], list[list[float]]] = ([], [])
    places: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for row, those in enumerate(drawn):
        mine = odds[row].tolist()
        for members in those:
            seen = members_of(members, count)
            for target in range(count):
                head = 0 if members >> target & 1 else 1
                found[head].append(observed[row].features(target, mine, seen))
                places[head].append((row, target))
    made = []
    for features, where, width in zip(found, places, (ASKED, UNASKED), strict=True):
        at = np.array(where, dtype=np.int64).reshape(-1, 2)
        made.append(Examples(np.array(features).reshape(-1, width), scores[at[:, 0], at[:, 1]], at[:, 0]))
    return made[0], made[1]


def qualities(
    observed: Sequence[Observed], prior: Array, asked: Scorer, unasked: Scorer, wanted: Sequence[Members]
) -> dict[Members, Array]:
    """The expected quality of every deployment's answer in every state (rows, deployments), by set."""
    count = prior.shape[1]
    odds = logit(prior).tolist()
    result = {0: prior}
    for members in wanted:
        seen = members_of(members, count)
        quality = np.empty_like(prior)
        for target in range(count):
            rows = np.array([one.features(target, odds[row], seen) for row, one in enumerate(observed)])
            score = asked if members >> target & 1 else unasked
            quality[:, target] = np.concatenate([score(rows[at : at + _CHUNK]) for at in range(0, len(rows), _CHUNK)])
        result[members] = quality
    return result


def prior_odds_only(inputs: int) -> Head:
    """A head that repeats the prior: for datasets without answers, where nothing is learned by asking."""
    weights = np.zeros((inputs, 1))
    weights[0, 0] = 1.0
    return Head(Linear(weights, np.zeros(1)), Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0])))


def play(
    plan: Plan, place: int, quality: Mapping[Members, Array], scores: Array, costs: Array
) -> tuple[Array, Array, Ints]:
    """Each row's way by a plan, as `Episode` goes it: the score of the answer given, the cost of all asked, who was.

    Returns:
        scores, costs in US dollars, and the sets that were asked.
    """
    rows, count = scores.shape
    got, paid, asked = np.zeros(rows), np.zeros(rows), np.zeros(rows, dtype=np.int64)
    at: dict[Members, Ints] = {0: np.arange(rows)}
    while at:
        after: dict[Members, list[Ints]] = {}
        for members, here in at.items():
            expected = quality[members][here]
            seen = members_of(members, count)
            best = expected[:, seen].max(axis=1) if seen else np.full(len(here), -np.inf)
            worth, moves = plan.moves(place, expected, members, (1 << count) - 1)
            goes = worth.max(axis=1) > best if moves else np.zeros(len(here), dtype=bool)
            stops = here[~goes]
            if len(stops):
                chosen = np.array(seen)[expected[~goes][:, seen].argmax(axis=1)]
                got[stops] = scores[stops, chosen]
                asked[stops] = members
            if goes.any():
                move = np.array(moves)[worth[goes].argmax(axis=1)]
                for target in np.unique(move):
                    those = here[goes][move == target]
                    paid[those] += costs[those, target]
                    after.setdefault(members | 1 << int(target), []).append(those)
        at = {members: np.concatenate(parts) for members, parts in after.items()}
    return got, paid, asked
