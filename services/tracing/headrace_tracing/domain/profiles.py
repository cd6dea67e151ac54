"""What is counted of each day's requests, by model and collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DAY_S = 86_400

MEANING = "topic_meaning"
"""Topics by meaning; see `topics`."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A feature and its bins.

    Attributes:
        edges: where the bins of a number begin and end, ascending; a bin has its lower edge, the first has all below it
            and the last all above. Empty: each value is a bin of its own.
    """

    name: str
    edges: tuple[float, ...] = ()

    @property
    def bins(self) -> tuple[str, ...]:
        """Names of the bins of a number, ascending: how many edges are at or below its values."""
        return tuple(map(str, range(len(self.edges) + 1))) if self.edges else ()

    def bounds(self, name: str) -> tuple[float | None, float | None]:
        """Where a bin begins and ends; None for a bin without that end, and for values that are no numbers."""
        if not self.edges:
            return None, None
        at = int(name)
        return self.edges[at - 1] if at else None, self.edges[at] if at < len(self.edges) else None


def _powers(first: int, last: int) -> tuple[float, ...]:
    return tuple(float(2**power) for power in range(first, last + 1))


FEATURES = {
    watched.name: watched
    for watched in (
        Watched("input_chars", _powers(3, 15)),
        Watched("output_tokens", _powers(1, 13)),
        Watched("language"),
        Watched("topic"),
        Watched(MEANING),
        Watched("refused"),
        Watched("groundedness", tuple(step / 10 for step in range(1, 10))),
        # Scores of searches are cosines, sums of reciprocal ranks (to 0.05) or outputs of rerankers, of any sign.
        Watched(
            "retrieval_score",
            (-8, -4, -2, -1, -0.5, 0, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.06, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7,
             0.8, 0.9, 1, 2, 4, 8, 16, 32),
        ),
        Watched("feedback", (-0.6, -0.2, 0.2, 0.6)),
    )
}  # fmt: skip
"""What is watched, by name."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How one feature of one day's requests was spread. `day` counts from 1970 (UTC).

    `collection` is empty for all requests to the model, whether they read one or not. `learned` is the day for whose
    look the topics were learned, 0 for what is not learned: topics of two such days are not the same topics.
    """

    day: int
    tenant: str
    model: str
    collection: str
    feature: str
    counts: Mapping[str, int]
    learned: int = 0
