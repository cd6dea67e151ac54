"""Counters and histograms whose numbers are plain: a request pays for a dictionary's entry, a scrape for the rest.

prometheus_client's own take a lock and check labels at each count, 2 to 5 us, and an event loop needs neither.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]


class Tally(Collector):
    """A counter by labels. Counted and read on one thread.

    Args:
        name: without `_total`.
        about: what is counted.
        labels: their names.
        registry: where it is read.
    """

    def __init__(self, name: str, about: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._about, self._labels = name, about, labels
        self._counts: dict[Labels, float] = {}
        registry.register(self)

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        """Count `amount` more of what has these values of the labels, in their order."""
        counts = self._counts
        counts[labels] = counts.get(labels, 0.0) + amount

    def describe(self) -> Iterator[CounterMetricFamily]:
        """See prometheus_client."""
        yield CounterMetricFamily(self._name, self._about, labels=self._labels)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """See prometheus_client."""
        family = CounterMetricFamily(self._name, self._about, labels=self._labels)
        for labels, count in list(self._counts.items()):
            family.add_metric(labels, count)
        yield family


class Spread(Collector):
    """A histogram by labels. Observed and read on one thread.

    Args:
        name: of the metric.
        about: what is observed.
        labels: their names.
        bounds: upper bounds of the buckets, ascending; one without bound comes after them.
        registry: where it is read.
    """

    def __init__(
        self, name: str, about: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._about, self._labels, self._bounds = name, about, labels, tuple(bounds)
        self._names = [*map(floatToGoString, bounds), "+Inf"]
        self._seen: dict[Labels, tuple[list[int], list[float]]] = {}
        registry.register(self)

    def observe(self, labels: Labels, value: float) -> None:
        """Take one value."""
        seen = self._seen.get(labels)
        if seen is None:
            seen = self._seen[labels] = [0] * len(self._names), [0.0]
        counts, total = seen
        counts[bisect_left(self._bounds, value)] += 1
        total[0] += value

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """See prometheus_client."""
        yield HistogramMetricFamily(self._name, self._about, labels=self._labels)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """See prometheus_client."""
        family = HistogramMetricFamily(self._name, self._about, labels=self._labels)
        for labels, (counts, total) in list(self._seen.items()):
            below, buckets = 0, list[tuple[str, float]]()
            for name, count in zip(self._names, counts, strict=True):
                below += count
                buckets.append((name, float(below)))
            family.add_metric(labels, buckets, total[0])
        yield family
