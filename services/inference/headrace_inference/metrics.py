"""Prometheus metrics; the same names over all engines."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)


class Metrics:
    """All metrics of the service, labelled by deployment.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "headrace_inference_"
        by = ("deployment",)
        self.requests = Counter(
            prefix + "requests", "Requests that ended.", ("deployment", "task", "outcome"), registry=registry
        )
        self.tokens = Counter(prefix + "tokens", "Tokens by kind.", ("deployment", "kind"), registry=registry)
        self.draft_tokens = Counter(
            prefix + "draft_tokens", "Tokens that speculation proposed, and those accepted.", ("deployment", "verdict"),
            registry=registry,
        )  # fmt: skip
        self.queue_seconds = Histogram(
            prefix + "queue_seconds", "Wait for a slot.", by, registry=registry, buckets=_SECONDS
        )
        self.first_token_seconds = Histogram(
            prefix + "first_token_seconds", "Arrival to first token.", by, registry=registry, buckets=_SECONDS
        )
        self.output_token_seconds = Histogram(
            prefix + "output_token_seconds", "Time per output token after the first.", by, registry=registry,
            buckets=_TOKEN_SECONDS,
        )  # fmt: skip
        self.seconds = Histogram(
            prefix + "request_seconds", "Arrival to end.", ("deployment", "task"), registry=registry, buckets=_SECONDS
        )
        self.running = Gauge(prefix + "running", "Requests in the engine.", by, registry=registry)
        self.waiting = Gauge(prefix + "waiting", "Requests in the queue.", by, registry=registry)
        self.ready = Gauge(prefix + "ready", "1 when the deployment serves.", by, registry=registry)
