"""How verdicts became what they are: points for people, thinned so that their number stays bounded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from headrace_rollout.analysis.observed import Verdict

MOST = 200
"""Points kept of each metric."""

FIELDS = ("estimate", "low", "high", "evidence")


class History:
    """Points of each metric's interval: all that changed its state, and a thinned rest."""

    def __init__(self) -> None:
        self._points: dict[str, list[dict[str, Any]]] = {}
        self._every_s: dict[str, float] = {}

    def add(self, now: float, verdicts: Iterable[Verdict]) -> None:
        """What is said at `now`, seconds."""
        for verdict in verdicts:
            points = self._points.setdefault(verdict.metric, [])
            last = points[-1] if points else None
            changed = last is None or last["state"] != verdict.state
            if last is not None and not changed and now < last["at"] + self._every_s.get(verdict.metric, 1.0):
                continue
            points.append(
                {"at": now, "metric": verdict.metric, "state": verdict.state, "margin": verdict.margin}
                | {field: _short(getattr(verdict, field)) for field in FIELDS}
            )
            points[-1]["changed"] = changed
            if len(points) > MOST:
                self._thin(verdict.metric)

    def points(self, metric: str | None = None) -> list[dict[str, Any]]:
        """Points in the order of time: of one metric, or of all."""
        if metric is not None:
            return list(self._points.get(metric, []))
        return sorted((point for points in self._points.values() for point in points), key=lambda point: point["at"])

    def _thin(self, metric: str) -> None:
        points = self._points[metric]
        self._every_s[metric] = 2 * self._every_s.get(metric, 1.0)
        kept = [point for place, point in enumerate(points[:-1]) if point["changed"] or place % 2 == 0]
        # states that flicker for ever are thinned too
        self._points[metric] = [*kept[-MOST + 1 :], points[-1]]

    def dump(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {"points": self._points, "every_s": self._every_s}

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Go on where `dump` was."""
        self._points = {metric: [*points] for metric, points in dumped["points"].items()}
        self._every_s = dict(dumped["every_s"])


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
