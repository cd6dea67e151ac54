"""What Prometheus may read of a process, sent by OTLP as well: to receivers that come for nothing themselves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

from headrace_kit.rounds import Rounds
from headrace_kit.telemetry.genai import SCHEMA_URL
from headrace_kit.telemetry.measures import MEASURES, SPAN_ID, TRACE_ID, plain

_log = logging.getLogger(__name__)
_NAMED = {measure.prometheus_name: measure for measure in MEASURES}
_ATTRIBUTES = {plain(name): name for measure in MEASURES for name in measure.attributes}
_CUMULATIVE = AggregationTemporality.CUMULATIVE
_UNTOLD: Any = None
_LAST_S = 2


class MetricsExport:
    """Sends a registry's metrics to an OTLP/gRPC receiver now and then. One that is away misses nothing for good:
    counts go on from where they were.

    Args:
        registry: what is sent. It is read on the event loop, as for Prometheus.
        resource: whose it is.
        address: host:port of the receiver.
        every_s: seconds between two exports.
        within_s: seconds after which an export is given up.
    """

    def __init__(
        self, registry: CollectorRegistry, resource: Resource, address: str, every_s: float, within_s: float = 5
    ) -> None:
        # It logs a line per failed export; here it is one line until things are well again.
        logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").setLevel(logging.CRITICAL)
        self._registry, self._resource, self._address = registry, resource, address
        self._away = False
        self._exporter = OTLPMetricExporter(endpoint=address, insecure=True, timeout=within_s)
        self._since_ns = time.time_ns()
        self._rounds = Rounds(self.export, every_s, "metrics could not be sent")

    def start(self) -> None:
        """Begin."""
        self._rounds.start()

    async def export(self) -> None:
        """Send how things stand now. A receiver that is away costs a few seconds, of no request's time."""
        data = metrics_data(self._registry, self._resource, self._since_ns, time.time_ns())
        taken = await asyncio.to_thread(self._exporter.export, data)
        away = taken is not MetricExportResult.SUCCESS
        if away and not self._away:
            _log.warning("%s does not take metrics; they are offered to it again and again", self._address)
        self._away = away

    async def stop(self) -> None:
        """Send the last counts if that is quick, and end."""
        await self._rounds.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.export(), _LAST_S)
        await asyncio.to_thread(self._exporter.shutdown)


def metrics_data(registry: CollectorRegistry, resource: Resource, since_ns: int, now_ns: int) -> MetricsData:
    """Everything in a registry, under the names of the conventions where these have one.

    Counters lose their `_total`, which Prometheus' own receiver adds again. Times are nanoseconds since 1970.
    """
    metrics = [metric for family in registry.collect() if (metric := _metric(family, since_ns, now_ns)) is not None]
    scope = ScopeMetrics(InstrumentationScope("headrace"), metrics, SCHEMA_URL)
    return MetricsData([ResourceMetrics(resource, [scope], SCHEMA_URL)])


def _metric(family: Family, since_ns: int, now_ns: int) -> Metric | None:
    if not family.samples:
        return None  # nothing of it was seen yet
    measure = _NAMED.get(family.name)
    name, unit = (measure.name, measure.unit) if measure else (family.name, family.unit)
    data: Sum | Gauge | Histogram
    match family.type:
        case "counter":
            totals = [sample for sample in family.samples if sample.name.endswith("_total")]
            data = Sum([_number(one, since_ns, now_ns) for one in totals], _CUMULATIVE, is_monotonic=True)
        case "gauge" | "info" | "unknown":
            data = Gauge([_number(sample, since_ns, now_ns) for sample in family.samples])
        case "histogram":
            data = Histogram(list(_histograms(family.samples, since_ns, now_ns)), _CUMULATIVE)
        case _:
            return None
    return Metric(name, family.documentation, unit, data)


def _number(sample: Sample, since_ns: int, now_ns: int) -> NumberDataPoint:
    return NumberDataPoint(_attributes(sample.labels), since_ns, now_ns, sample.value)


def _histograms(samples: Sequence[Sample], since_ns: int, now_ns: int) -> Iterator[HistogramDataPoint]:
    """Samples of one histogram come together, buckets in their order."""
    for labels, of_one in groupby(samples, lambda sample: {k: v for k, v in sample.labels.items() if k != "le"}):
        found = list(of_one)
        buckets = [sample for sample in found if sample.name.endswith("_bucket")]
        below = [0, *(int(bucket.value) for bucket in buckets)]
        total = next((sample.value for sample in found if sample.name.endswith("_sum")), 0.0)
        yield HistogramDataPoint(
            attributes=_attributes(labels),
            start_time_unix_nano=since_ns,
            time_unix_nano=now_ns,
            count=below[-1],
            sum=total,
            bucket_counts=[more - less for less, more in pairwise(below)],
            explicit_bounds=[float(bucket.labels["le"]) for bucket in buckets[:-1]],
            min=_UNTOLD,
            max=_UNTOLD,
            exemplars=[_exemplar(bucket, now_ns) for bucket in buckets if bucket.exemplar is not None],
        )


def _exemplar(bucket: Sample, now_ns: int) -> Exemplar:
    given = bucket.exemplar
    assert given is not None
    at_ns = now_ns if given.timestamp is None else int(float(given.timestamp) * 1e9)
    return Exemplar({}, given.value, at_ns, int(given.labels[SPAN_ID], 16), int(given.labels[TRACE_ID], 16))


def _attributes(labels: Mapping[str, str]) -> dict[str, str]:
    return {_ATTRIBUTES.get(name, name): value for name, value in labels.items() if value}
