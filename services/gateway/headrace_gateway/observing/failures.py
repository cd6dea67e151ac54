"""Prometheus metrics of what is done about engines that fail or are slow."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class FailureMetrics:
    """Fulfils `HealthMetrics`. Labels come from the config alone."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(suffix: str, about: str, *labels: str) -> Counter:
            return Counter(f"headrace_gateway_{suffix}", about, ("model", *labels), registry=registry)

        self._breakers = Gauge(
            "headrace_gateway_breaker_state", "0 closed, 1 half open, 2 open.", ("model", "deployment"),
            registry=registry,
        )  # fmt: skip
        self._ejections = counter("ejections", "Times that a deployment was left alone.", "deployment", "reason")
        self._retries = counter("retries", "Further tries in a pool: made, or refused by the budget.", "outcome")
        self._hedges = counter("hedges", "Second attempts at a slow first token: won, lost or refused.", "outcome")
        self._failovers = counter("failovers", "Answers that broke off: continued, or failed.", "outcome")

    def breaker(self, model: str, deployment: str, state: int) -> None:
        """See `HealthMetrics`."""
        self._breakers.labels(model, deployment).set(state)

    def ejection(self, model: str, deployment: str, reason: str) -> None:
        """See `HealthMetrics`."""
        self._ejections.labels(model, deployment, reason).inc()

    def retry(self, model: str, outcome: str) -> None:
        """See `HealthMetrics`."""
        self._retries.labels(model, outcome).inc()

    def hedge(self, model: str, outcome: str) -> None:
        """See `HealthMetrics`."""
        self._hedges.labels(model, outcome).inc()

    def failover(self, model: str, outcome: str) -> None:
        """See `HealthMetrics`."""
        self._failovers.labels(model, outcome).inc()
