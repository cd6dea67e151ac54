"""Prometheus metrics of routing."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class ChoiceMetrics:
    """Counts choices among several deployments. Labels come from the config alone."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._choices = Counter(
            "headrace_gateway_choices", "Choices of a deployment among several, by reason.",
            ("model", "deployment", "why"), registry=registry,
        )  # fmt: skip

    def chosen(self, model: str, deployment: str, why: str) -> None:
        """A deployment was chosen."""
        self._choices.labels(model, deployment, why).inc()
