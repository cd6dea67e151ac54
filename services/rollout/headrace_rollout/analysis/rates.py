"""How often something happens: errors and hard failures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from headrace_rollout.analysis.betting import Array, EventBets, Flags
from headrace_rollout.analysis.chunk import Chunk
from headrace_rollout.analysis.judge import FIRST, Allowance
from headrace_rollout.analysis.keys import Counts, Epochs
from headrace_rollout.analysis.shares import ShareJudge

INCREASES = (0.9, 2.8, 8.0)
PRIOR = (0.7, 8.0, 1.5)
"""How much more often it may happen on the candidate, in margins, and how likely each is held to be before."""
LEAST_MARGIN = 0.005
"""A margin for these increases where there is none."""
GUESS = 800
"""Requests that the guess counts as that the baseline fails as often as its margin: an increase is a multiple of its
rate, which few requests tell only badly, and a bet at odds that jump about with it wins less."""

LEVELS = 5
"""Keys are bet on when it happens to them for the 1st, 2nd, 4th, 8th and 16th time."""


class RateJudge(ShareJudge):
    """Judges how often requests fail.

    Harm is any increase: it is bet on the arm of each key to which a failure happens for the first time, which needs no
    rate, so that rates may drift. Keys to which it happens again are bet on at each doubling, with bets of their own.

    Within the margin is bet on all requests: that the difference of the rates is below the margin. Each counts
    by its arm's chance. What requests of one key share is taken off as their dispersion.
    """

    harm: tuple[EventBets, ...]

    def __init__(
        self, name: str, margin: float, allowance: Allowance, epochs: Epochs, kinds: Collection[str] | None = None
    ) -> None:
        """`kinds` of failures that count; None: all."""
        super().__init__(name, margin, allowance, epochs)
        self._kinds = None if kinds is None else frozenset(kinds)
        self._counts = Counts(epochs, LEVELS)
        again = (1 - FIRST) / (LEVELS - 1)
        self.harm = tuple(EventBets(allowance.harm * (again if level else FIRST), PRIOR) for level in range(LEVELS))

    def add(self, chunk: Chunk) -> None:
        """Outcomes."""
        kinds = self._kinds
        failed = np.fromiter(
            (kind is not None and (kinds is None or kind in kinds) for kind in chunk.failed), bool, len(chunk)
        )
        if chunk.candidate.any():
            self.last_at = float(chunk.at[chunk.candidate].max())
        places = np.flatnonzero(failed)
        labels = _labels(chunk, places) if len(places) else {}
        requests, failures = self._of_baseline(chunk, failed)
        for place in places.tolist():
            on_candidate = bool(chunk.candidate[place])
            multiples = ratios(self.margin, requests[place], failures[place])
            bet = self._counts.hit(int(chunk.keys[place]), on_candidate, int(chunk.epochs[place]))
            if bet is None:
                continue
            level, chance = bet
            self.harm[level].add(on_candidate, chance, multiples)
            if level == 0:
                for label in labels.get(place, ()):
                    bets = self.segment(label)
                    assert isinstance(bets, EventBets)
                    bets.add(on_candidate, chance, multiples)
        values, rate = failed.astype(float), self._rate()
        self._repeats.add(chunk.keys, chunk.candidate, chunk.epochs, values[:, None], np.full(1, rate))
        self._bet_within(values, chunk, chunk.weight, rate)

    def _rate(self) -> float:
        return self._mean(0.5, 50)

    def _of_baseline(self, chunk: Chunk, failed: Flags) -> tuple[Array, Array]:
        """How many requests the baseline served before each outcome of the chunk, and how many of them failed."""
        n0, m0 = self._difference.counts[0], self._difference.means()[0]
        served = (~chunk.candidate).astype(float)
        lost = served * failed
        return n0 + np.cumsum(served) - served, n0 * m0 + np.cumsum(lost) - lost

    def values(self) -> str:
        (n0, n1), (m0, m1) = self._difference.counts, self._difference.means()
        return f"{m1:.2%} of {n1:,} failed, {m0:.2%} of {n0:,} on the baseline"

    def segment_bets(self) -> EventBets:
        return EventBets(self.allowance.segment, PRIOR)

    def dump(self) -> dict[str, Any]:
        return super().dump() | {
            "counts": self._counts.dump(),
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        super().restore(dumped)
        self._counts.restore(dumped["counts"])


def ratios(margin: float, requests: float, failures: float) -> Array:
    """The alternatives: multiples of the baseline's rate, known by how many of its requests failed so far."""
    margin = max(margin, LEAST_MARGIN)
    rate = (failures + margin * GUESS) / (requests + GUESS)
    return 1 + np.asarray(INCREASES) * margin / rate


def _labels(chunk: Chunk, places: Any) -> dict[int, list[str]]:
    """Segments of outcomes, by place."""
    labels: dict[int, list[str]] = {}
    for label, of_label in chunk.groups.items():
        for place in np.intersect1d(places, of_label, assume_unique=True).tolist():
            labels.setdefault(place, []).append(label)
    return labels
