"""What rollout counts about itself."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """`headrace_rollout_*`, in the registry of the service."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.transitions = Counter(
            "headrace_rollout_transitions",
            "Transitions that this replica made, by new state.",
            ("to",),
            registry=registry,
        )
        self.looks_failed = Counter(
            "headrace_rollout_looks_failed", "Looks at the rollouts that failed, so everything held.", registry=registry
        )
        self.deaf = Gauge(
            "headrace_rollout_outcomes_away", "1 while the outcomes of requests cannot be read.", registry=registry
        )
        self.outcomes = Counter(
            "headrace_rollout_outcomes",
            "Outcomes that this replica has read, by arm; shadows beside them.",
            ("rollout", "arm"),
            registry=registry,
        )
        self.told = Counter(
            "headrace_rollout_told", "Messages about rollouts: sent, or failed.", ("outcome",), registry=registry
        )
        self.grants = Counter("headrace_rollout_grants", "Grants sent to gateways.", registry=registry)
        self.watchers = Gauge("headrace_rollout_watchers", "Gateways that watch this replica.", registry=registry)
        self.leads = Gauge("headrace_rollout_leads", "1 if this replica made the last look itself.", registry=registry)
        self._weight = Gauge(
            "headrace_rollout_weight_ratio",
            "Share of sticky keys granted to a candidate, 0 to 1.",
            ("model", "rollout"),
            registry=registry,
        )

    def show(self, weights: Iterable[tuple[str, str, int]]) -> None:
        """Show the weights that are granted, as (model, rollout, 1/10000), and no others."""
        self._weight.clear()
        for model, rollout, weight in weights:
            self._weight.labels(model, rollout).set(weight / 10_000)
