"""What tracing counts about itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """`headrace_tracing_*`, in the registry of the service."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"headrace_tracing_{name}", help_text, labels, registry=registry)

        self.spans_received = counter("spans_received", "Spans that arrived, good and bad.")
        self.spans_rejected = counter(
            "spans_rejected", "Spans and records told back to the sender as unusable.", "reason"
        )
        self.spans_stored = counter("spans_stored", "New spans in the database.")
        self.spans_duplicate = counter("spans_duplicate", "Spans that were in the database already.")
        self.spans_refused = counter(
            "spans_refused", "Spans whose sender was told to come again: lost, if it gives up.", "reason"
        )
        self.spans_dropped = counter("spans_dropped", "Spans that were acknowledged and then lost.", "reason")
        self.exports_refused = counter("exports_refused", "Exports answered with an error.", "reason")
        self.spans_forwarded = counter("spans_forwarded", "Spans that a receiver took.", "receiver")
        self.forward_dropped = counter("forward_dropped", "Spans that a receiver did not get.", "receiver", "reason")
        self.findings = counter("findings", "Personal data and secrets masked before storage.", "check", "kind")
        self.traces_deleted = counter("traces_deleted", "Traces deleted because of their age.")
        self.traces_settled = counter(
            "traces_settled", "Traces that were over and looked at, by what became of their spans.", "outcome"
        )
        self.spans_thinned = counter("spans_thinned", "Spans deleted because nobody will miss their trace.")
        self.drifted = Gauge(
            "headrace_tracing_drifted",
            "PSI of what has drifted on the last day that is over; what has not drifted is not there.",
            ("tenant", "model", "collection", "feature"),
            registry=registry,
        )
        self.drift_tests = Gauge(
            "headrace_tracing_drift_tests", "Tests for drift on the last day that is over.", registry=registry
        )
        self.topics_embedded = counter("topics_embedded", "Questions embedded to tell topics by their meaning.")
        self.topics_failed = counter(
            "topics_failed", "Times that topics could not be learned because the model that embeds failed."
        )
        self.questions_retried = counter(
            "questions_retried", "Answers whose question the same person asked again soon after."
        )
        self.buffered_spans = Gauge(
            "headrace_tracing_buffered_spans", "Spans that wait for the database.", registry=registry
        )
        self.buffered_bytes = Gauge(
            "headrace_tracing_buffered_bytes",
            "Bytes of the spans that wait in memory, as they arrived.",
            registry=registry,
        )
        self.disk_spans = Gauge(
            "headrace_tracing_disk_spans", "Of the spans that wait, those that wait on disk.", registry=registry
        )
        self.disk_bytes = Gauge(
            "headrace_tracing_disk_bytes", "Bytes of the spans that wait on disk.", registry=registry
        )
        self.store_seconds = Histogram(
            "headrace_tracing_store_seconds",
            "Time to write one batch.",
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        for reason in ("refused_by_store", "unreadable"):
            self.spans_dropped.labels(reason)
        for reason in ("buffer_full", "disk"):
            self.spans_refused.labels(reason)
