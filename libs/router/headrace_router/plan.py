"""Whom to ask next: the value of every move, learned backwards from the last one.

A state is who has answered and how good each deployment's answer is expected to be. Stopping is worth the best answer
there is; asking deployment d is worth what the best play after it is worth, minus `tradeoff` times what d costs. That
value is a linear function of a few numbers of the state, fitted from the largest sets of answers down to none: optimal
stopping by least squares (Longstaff and Schwartz, 2001) for *A Unified Approach to Routing and Cascading for LLMs*
(Dekoninck, Baader, Vechev; ICML 2025), which a look one step ahead would play badly: a cheap second opinion is worth
asking for because of what it saves later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from headrace_router.predictors import Array

Members = int
"""A set of deployments, as bits: bit i stands for deployment i."""


def describe(quality: Array, members: Members) -> Array:
    """The numbers of states that a value is linear in. `quality` has a row for each state."""
    count = quality.shape[1]
    asked = [index for index in range(count) if members >> index & 1]
    left = [index for index in range(count) if not members >> index & 1]
    none = np.zeros(len(quality))
    best = quality[:, asked].max(axis=1) if asked else none
    hope = quality[:, left].max(axis=1) if left else none
    return np.column_stack(
        [
            np.ones(len(quality)),
            quality,
            best,
            np.maximum(best, hope),
            best * best,
            best * hope,
            np.maximum(hope - best, 0),
        ]
    )


@dataclass(frozen=True)
class Plan:
    """Weights of the moves, for each trade-off in ascending order: `weights[t][members, move]` is a vector.

    A trade-off is quality per US dollar: at 20, an answer that is 0.02 better (of 1) may cost 0.001 more.
    """

    tradeoffs: Array
    weights: tuple[Mapping[tuple[Members, int], Array], ...]

    def nearest(self, tradeoff: float) -> int:
        """The index of the trade-off that is nearest, by ratio."""
        return int(np.abs(np.log(np.maximum(self.tradeoffs, 1e-9) / max(tradeoff, 1e-9))).argmin())

    def moves(self, place: int, quality: Array, members: Members, allowed: Members) -> tuple[Array, list[int]]:
        """What each move into `allowed` is worth, a column a move, and the moves."""
        table = self.weights[place]
        moves = [
            index
            for index in range(quality.shape[1])
            if allowed >> index & 1 and not members >> index & 1 and (members, index) in table
        ]
        if not moves:
            return np.empty((len(quality), 0)), moves
        return describe(quality, members) @ np.column_stack([table[members, move] for move in moves]), moves


def fit_plan(
    qualities: Mapping[Members, Array], scores: Array, costs: Array, tradeoffs: Array, ridge: float = 1.0
) -> Plan:
    """Learn the values of all moves.

    Args:
        qualities: expected quality of every deployment's answer (rows, deployments), for each set that has answered;
            predicted for rows that the predictors were not fitted on.
        scores: how good each deployment's answer was (rows, deployments), 0 to 1.
        costs: what each cost, in US dollars.
        tradeoffs: ascending.
        ridge: weight of the penalty.
    """
    rows = np.arange(len(scores))
    every = sorted(qualities, key=lambda members: -members.bit_count())
    count = scores.shape[1]
    solved: dict[Members, tuple[Array, Array]] = {}
    for members in every:
        numbers = describe(qualities[members], members)
        solved[members] = (numbers, np.linalg.inv(numbers.T @ numbers + ridge * np.eye(numbers.shape[1])) @ numbers.T)
    tables = []
    for tradeoff in tradeoffs:
        table: dict[tuple[Members, int], Array] = {}
        value: dict[Members, Array] = {}
        for members in every:
            quality = qualities[members]
            numbers, solve = solved[members]
            asked = [index for index in range(count) if members >> index & 1]
            if asked:
                expected = quality[:, asked].max(axis=1)
                gained = scores[rows, np.array(asked)[quality[:, asked].argmax(axis=1)]]
            else:
                expected, gained = np.full(len(rows), -np.inf), np.zeros(len(rows))
            for move in range(count):
                after = members | 1 << move
                if members >> move & 1 or after not in value:
                    continue
                outcome = value[after] - tradeoff * costs[:, move]
                table[members, move] = weights = solve @ outcome
                hoped = numbers @ weights
                better = hoped > expected
                expected, gained = np.where(better, hoped, expected), np.where(better, outcome, gained)
            value[members] = gained
        tables.append(table)
    return Plan(np.asarray(tradeoffs, dtype=float), tuple(tables))
