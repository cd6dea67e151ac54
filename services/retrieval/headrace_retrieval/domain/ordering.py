"""The last word on the order of passages: newer ones before older ones, and none that says what a better one said."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_WORD = re.compile(r"\w+")
UNDATED = 0.5
"""What a passage without a date that can be read keeps of its score: as much as one that is a half-life old."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """A score halves with each `half_life_s` seconds of the age that the metadata field `field` says (RFC 3339)."""

    field: str
    half_life_s: float

    def factor(self, metadata: Mapping[str, Any], now: datetime) -> float:
        """What a passage keeps of its score, 0 to 1; dates to come count as now."""
        then = _date(metadata.get(self.field))
        if then is None:
            return UNDATED
        return float(0.5 ** (max(0.0, (now - then).total_seconds()) / self.half_life_s))


@dataclass(frozen=True, slots=True)
class Candidate(Generic[T]):
    """Something to be put in order: its share of the best score, 0 to 1, and its text."""

    item: T
    share: float
    text: str


def varied(candidates: Sequence[Candidate[T]], diversity: float, wanted: int) -> list[tuple[T, float]]:
    """The first `wanted` by maximal marginal relevance, with the value each was taken for.

    Each next one has the highest (1 - diversity) * share - diversity * (likeness to the most alike one before it). The
    likeness of two texts is the cosine of their word counts. Carbonell and Goldstein, SIGIR 1998, with lambda = 1 -
    diversity. Equal values keep their order.

    Args:
        candidates: best first.
        diversity: 0 keeps their order; 1 looks at likeness alone.
        wanted: how many.
    """
    left = [(candidate, _words(candidate.text)) for candidate in candidates]
    nearest = [0.0] * len(left)
    taken: list[tuple[T, float]] = []
    open_ = list(range(len(left)))
    while open_ and len(taken) < wanted:
        values = [(1 - diversity) * left[place][0].share - diversity * nearest[place] for place in open_]
        best = max(range(len(open_)), key=lambda number: (values[number], -open_[number]))
        place = open_.pop(best)
        taken.append((left[place][0].item, values[best]))
        for other in open_:
            nearest[other] = max(nearest[other], _alike(left[place][1], left[other][1]))
    return taken


def _words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(text.casefold()))


def _alike(one: Counter[str], other: Counter[str]) -> float:
    shared = sum(count * other[word] for word, count in one.items() if word in other)
    norms = math.sqrt(sum(count * count for count in one.values()) * sum(count * count for count in other.values()))
    return shared / norms if norms else 0.0


def _date(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
