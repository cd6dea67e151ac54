"""What a server's Prometheus metrics say of its load."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from headrace_inference.adapters.openai_compatible.dialect import Metrics
from headrace_inference.ports import EngineStats

_FIRST_RANK = ("tp_rank", "pp_rank")
"""Parts of one engine that repeat its figures: only those of rank 0 count."""


class Reader:
    """Reads the metrics of one server, again and again.

    The share of draft tokens that were accepted is that of the time since the last reading.
    """

    def __init__(self, names: Metrics) -> None:
        self._names = names
        self._drafted = 0.0
        self._accepted = 0.0

    def read(self, text: str) -> EngineStats:
        """What is there; what is not is None."""
        samples: dict[str, list[Sample]] = {}
        for sample in _samples(text):
            samples.setdefault(sample.name, []).append(sample)
        running = _first(samples, self._names.running)
        waiting = _first(samples, self._names.waiting)
        cache = _first(samples, self._names.kv_cache)
        return EngineStats(
            kv_cache_used=max(cache) if cache else None,
            running=round(sum(running)) if running else None,
            waiting=round(sum(waiting)) if waiting else None,
            draft_acceptance=self._acceptance(samples),
        )

    def _acceptance(self, samples: dict[str, list[Sample]]) -> float | None:
        if self._names.acceptance:
            found = _first(samples, (self._names.acceptance,))
            return sum(found) / len(found) if found else None
        drafted = sum(_first(samples, (self._names.drafted,)))
        accepted = sum(_first(samples, (self._names.accepted,)))
        if drafted < self._drafted:  # the server has started afresh
            self._drafted = self._accepted = 0.0
        new_drafted, new_accepted = drafted - self._drafted, accepted - self._accepted
        self._drafted, self._accepted = drafted, accepted
        return new_accepted / new_drafted if new_drafted > 0 else None


def _samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if all(sample.labels.get(rank, "0") == "0" for rank in _FIRST_RANK):
                yield sample


def _first(samples: dict[str, list[Sample]], names: tuple[str, ...]) -> list[float]:
    """Values of the first of `names` that is there."""
    return next(([sample.value for sample in samples[name]] for name in names if name in samples), [])
