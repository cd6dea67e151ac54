"""What retrieval counts, as `headrace_retrieval_*`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One per process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stage_s = Histogram(
            "headrace_retrieval_stage_seconds",
            "Time of a stage of a search.",
            ("stage",),
            registry=registry,
            buckets=_BUCKETS,
        )
        self.degraded = Counter(
            "headrace_retrieval_degraded_total",
            "Searches that were answered without a stage because a part was away.",
            ("stage",),
            registry=registry,
        )
        self.stale = Counter(
            "headrace_retrieval_stale_hits_total",
            "Hits that were dropped because the record no longer shows them to the caller.",
            registry=registry,
        )
        self.documents = Counter(
            "headrace_retrieval_documents_total",
            "Documents that left the queue or went back to it: published, overtaken, failed, postponed.",
            ("outcome",),
            registry=registry,
        )
        self.chunks = Counter("headrace_retrieval_chunks_total", "Passages that were made.", registry=registry)
        self.waiting = Gauge(
            "headrace_retrieval_queue_documents", "Documents that wait to become searchable.", registry=registry
        )
        self.lexical_position = Gauge(
            "headrace_retrieval_lexical_position", "Last change that the lexical index shows.", registry=registry
        )
        self.lexical_passages = Gauge(
            "headrace_retrieval_lexical_passages", "Passages in the lexical index.", registry=registry
        )
