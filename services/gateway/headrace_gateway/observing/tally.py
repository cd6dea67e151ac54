"""Counters and histograms whose numbers are plain: a request pays for a dictionary's entry, a scrape for the rest.

prometheus_client's own take a lock and check labels at each count, 2 to 5 us, and an event loop needs neither.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from headrace_kit.telemetry.measures import SPAN_ID, TRACE_ID

Labels = tuple[str, ...]
Ids = tuple[str, str]
"""Of a trace and of a span of it."""

Example = tuple[Ids, float, float]
"""A span, the value that was observed in it, and when, in seconds since 1970."""


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
        self._seen: dict[Labels, tuple[list[int], list[float], list[Example | None]]] = {}
        registry.register(self)

    def observe(self, labels: Labels, value: float, span: Ids | None = None) -> None:
        """Take one value, and the span that is an example of it."""
        seen = self._seen.get(labels)
        if seen is None:
            size = len(self._names)
            seen = self._seen[labels] = [0] * size, [0.0], [None] * size
        counts, total, examples = seen
        place = bisect_left(self._bounds, value)
        counts[place] += 1
        total[0] += value
        if span is not None:
            examples[place] = span, value, time.time()

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """See prometheus_client."""
        yield HistogramMetricFamily(self._name, self._about, labels=self._labels)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """See prometheus_client."""
        family = HistogramMetricFamily(self._name, self._about, labels=self._labels)
        for labels, (counts, total, examples) in list(self._seen.items()):
            below, buckets = 0, list[tuple[str, float] | tuple[str, float, Exemplar]]()
            for name, count, example in zip(self._names, counts, examples, strict=True):
                below += count
                bucket = name, float(below)
                buckets.append(bucket if example is None else (*bucket, _exemplar(example)))
            family.add_metric(labels, buckets, total[0])
        yield family


def _exemplar(example: Example) -> Exemplar:
    (trace_id, span_id), value, at_s = example
    return Exemplar({TRACE_ID: trace_id, SPAN_ID: span_id}, value, at_s)
