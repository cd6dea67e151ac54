"""What tracing counts about itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """`headrace_tracing_*`, in the registry of the service."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"headrace_tracing_{name}", help_text, labels, registry=registry)

        self.spans_received = counter("spans_received", "Spans that arrived, good and bad.")
        self.spans_rejected = counter("spans_rejected", "Spans told back to the sender as unusable.", "reason")
        self.spans_stored = counter("spans_stored", "New spans in the database.")
        self.spans_duplicate = counter("spans_duplicate", "Spans that were in the database already.")
        self.spans_dropped = counter("spans_dropped", "Spans that were acknowledged and then lost.", "reason")
        self.exports_refused = counter("exports_refused", "Exports answered with an error.", "reason")
        self.findings = counter("findings", "Personal data and secrets masked before storage.", "check", "kind")
        self.traces_deleted = counter("traces_deleted", "Traces deleted because of their age.")
        self.buffered_spans = Gauge(
            "headrace_tracing_buffered_spans", "Spans that wait for the database.", registry=registry
        )
        self.buffered_bytes = Gauge(
            "headrace_tracing_buffered_bytes", "Bytes of the spans that wait, as they arrived.", registry=registry
        )
        self.store_seconds = Histogram(
            "headrace_tracing_store_seconds",
            "Time to write one batch.",
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        for reason in ("stopped", "refused_by_store"):
            self.spans_dropped.labels(reason)
