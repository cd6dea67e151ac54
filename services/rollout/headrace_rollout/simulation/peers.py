"""How others judge, on the same requests: fixed thresholds each minute, and a t-test that is looked at each minute."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Protocol

import numpy as np

from headrace_rollout.analysis.analysis import QUANTITIES
from headrace_rollout.analysis.chunk import Chunk
from headrace_rollout.simulation.scenario import Scenario


class Peer(Protocol):
    """Judges a minute of outcomes after the other."""

    def look(self, chunk: Chunk) -> str:
        """What is beyond; empty: nothing."""


class Thresholds:
    """Limits of somebody who knows the baseline's long-run values: its error rate and its p95, plus the margins.

    Three minutes over a limit, with ten requests at least, roll back: `failureLimit: 2` of Argo Rollouts, `threshold:
    3` of Flagger.
    """

    FAILED = 3
    LEAST = 10

    def __init__(self, scenario: Scenario) -> None:
        spec, law = scenario.analysis, scenario.baseline
        self._errors = (law.errors + law.timeouts) / 10_000 + spec.errors.margin if spec.errors else math.inf
        self._p95 = {}
        for name in QUANTITIES:
            metric = getattr(spec, name)
            if metric is not None:
                of = getattr(law, {"cost": "cost_usd", "output_tokens": name}.get(name, f"{name}_ms"))
                self._p95[name] = of.median * math.exp(1.645 * of.sigma) * (1 + metric.margin)
        self._failed = 0

    def look(self, chunk: Chunk) -> str:
        """A minute."""
        mine = np.flatnonzero(chunk.candidate)
        if len(mine) < self.LEAST:
            return ""
        over = []
        if sum(chunk.failed[place] is not None for place in mine.tolist()) / len(mine) > self._errors:
            over.append("errors")
        for name, limit in self._p95.items():
            values = chunk.column(name)[mine]
            values = values[~np.isnan(values)]
            if len(values) >= self.LEAST and np.quantile(values, 0.95) > limit:
                over.append(name)
        self._failed += bool(over)
        return over[0] if self._failed >= self.FAILED else ""


class Peeking:
    """A t-test of all values so far, looked at each minute, at the same alpha split over the same metrics."""

    LEAST = 20

    def __init__(self, scenario: Scenario) -> None:
        metrics = [name for name, _ in scenario.analysis.metrics() if not name.startswith("pairs.")]
        self._z = NormalDist().inv_cdf(1 - scenario.analysis.alpha / 10_000 / max(1, len(metrics)))
        self._sums: dict[str, np.ndarray[tuple[int, int], np.dtype[np.float64]]] = {
            name: np.zeros((2, 3)) for name in metrics if name != "failures"
        }

    def look(self, chunk: Chunk) -> str:
        """A minute."""
        for name, sums in self._sums.items():
            if name == "errors":
                values = np.asarray([kind is not None for kind in chunk.failed], float)
            else:
                values = chunk.column(name)
                values = 1 - values if name.startswith("scores.") else np.log(np.maximum(values, 1e-12))
            for arm in (0, 1):
                of_arm = values[(chunk.candidate == bool(arm)) & ~np.isnan(values)]
                sums[arm] += [len(of_arm), of_arm.sum(), (of_arm**2).sum()]
            count, total, squares = sums.T
            if count.min() < self.LEAST:
                continue
            means = total / count
            error = math.sqrt(float((np.maximum(squares / count - means**2, 0) / count).sum()))
            if error > 0 and (means[1] - means[0]) / error > self._z:
                return name
        return ""


PEERS: Mapping[str, Callable[[Scenario], Peer]] = {"fixed thresholds": Thresholds, "t-test, peeked at": Peeking}
