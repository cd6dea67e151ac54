"""What the judges of all metrics have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace_rollout.analysis.betting import Array, Bets, EventBets, Fortune, Integers
from headrace_rollout.analysis.chunk import Chunk
from headrace_rollout.analysis.keys import Epochs

FIRST = 0.99
"""Part of a metric's alpha for the first time of each key; the rest is for what keys meet again and again."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How often a metric may err.

    Attributes:
        whole: alpha of the analysis: for passing a margin wrongly, and for intervals.
        harm: this metric's part for a wrong rollback over all requests.
        segment: the same for each segment.
    """

    whole: float
    harm: float
    segment: float


Interval = tuple[float, float, float]
"""Estimate, low and high."""


class Judge(ABC):
    """Judges one metric.

    Attributes:
        name: of the metric.
        margin: how much worse the candidate may be.
        line: how much worse it must be shown to be for a rollback.
        unit: `points` for rates and scores, `share` of the baseline's value for quantities.
        paired: whether it compares answers to the same requests.
        last_at: when the candidate last had a value, seconds; None before the first.
        harm: bets that it is worse. One that reached its goal is enough.
    """

    paired = False
    unit = "points"
    harm: tuple[Fortune, ...]

    def __init__(self, name: str, margin: float, line: float, allowance: Allowance, epochs: Epochs) -> None:
        self.name = name
        self.margin = margin
        self.line = line
        self.allowance = allowance
        self.epochs = epochs
        self.last_at: float | None = None

    @property
    @abstractmethod
    def counts(self) -> tuple[int, int]:
        """Values of the baseline and of the candidate."""

    @abstractmethod
    def within(self) -> float:
        """Evidence that it is within its margin, from 0 to 1; 1 is shown."""

    @abstractmethod
    def interval(self) -> Interval | None:
        """How much worse the candidate is; None while nothing can be said."""

    @abstractmethod
    def values(self) -> str:
        """Both arms' values, for people."""

    @property
    def harmed(self) -> bool:
        """Whether the candidate was shown to be worse than allowed, at any time."""
        return any(bets.shown for bets in self.harm)

    @property
    def evidence(self) -> float:
        """Evidence that it is worse, from 0 to 1."""
        return max(bets.evidence for bets in self.harm)

    def dump(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {
            "last_at": self.last_at,
            "harm": [bets.dump() for bets in self.harm],
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Go on where `dump` was."""
        self.last_at = dumped["last_at"]
        for bets, state in zip(self.harm, dumped["harm"], strict=True):
            bets.restore(state)


class LiveJudge(Judge):
    """Judges outcomes of live requests, each segment of them too.

    Attributes:
        segments: bets by label of a segment.
    """

    def __init__(self, name: str, margin: float, line: float, allowance: Allowance, epochs: Epochs) -> None:
        super().__init__(name, margin, line, allowance, epochs)
        self.segments: dict[str, EventBets | Bets] = {}

    def harmed_segments(self) -> list[str]:
        """Labels of the segments to which it was shown to be worse."""
        return [label for label, bets in self.segments.items() if bets.shown]

    def segment(self, label: str) -> EventBets | Bets:
        """Bets of a segment."""
        found = self.segments.get(label)
        if found is None:
            found = self.segments[label] = self.segment_bets()
        return found

    def follow_segments(self, chunk: Chunk, places: Integers, won: Array) -> None:
        """What was won with outcomes at `places`, followed by the segment of each."""
        for label, of_label in chunk.groups.items():
            there = np.zeros(len(chunk), bool)
            there[of_label] = True
            rows = there[places]
            if rows.any():
                bets = self.segment(label)
                assert isinstance(bets, Bets)
                bets.follow(won[rows])

    @abstractmethod
    def segment_bets(self) -> EventBets | Bets:
        """New bets for a segment."""

    def dump(self) -> dict[str, Any]:
        return super().dump() | {"segments": {label: bets.dump() for label, bets in self.segments.items()}}

    def restore(self, dumped: Mapping[str, Any]) -> None:
        super().restore(dumped)
        for label, state in dumped["segments"].items():
            self.segment(label).restore(state)
