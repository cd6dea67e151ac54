"""What the service counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


class Metrics:
    """The service's own metrics; labels hold names of the config only, never anything of a text."""

    def __init__(self, registry: CollectorRegistry, release: str = "", track: str = "stable") -> None:
        Info("headrace_guardrails_running", "What runs here.", registry=registry).info(
            {"track": track, "release": release}
        )
        self.checks = Counter(
            "headrace_guardrails_checks",
            "Texts judged: whole ones, and streams that came to their end.",
            ("policy", "direction", "action"),
            registry=registry,
        )
        self.findings = Counter(
            "headrace_guardrails_findings", "Things found.", ("check", "kind", "action"), registry=registry
        )
        self.seconds = Histogram(
            "headrace_guardrails_check_seconds",
            "Time to judge a whole text.",
            ("direction",),
            registry=registry,
            buckets=_BUCKETS,
        )
        self.tier_seconds = Histogram(
            "headrace_guardrails_tier_seconds",
            "Time of one check of tier 2 or 3.",
            ("check",),
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self.failures = Counter(
            "headrace_guardrails_check_failures",
            "Checks that gave no verdict, and whether the text then stayed out.",
            ("check", "reason", "then"),
            registry=registry,
        )
        self.reviews = Counter(
            "headrace_guardrails_reviews", "Escalated texts by what became of them.", ("state",), registry=registry
        )
        self.audit_lost = Counter(
            "headrace_guardrails_audit_lost", "Decisions that could not be written to the audit.", registry=registry
        )
        self.streams = Gauge("headrace_guardrails_open_streams", "Streams being judged.", registry=registry)
