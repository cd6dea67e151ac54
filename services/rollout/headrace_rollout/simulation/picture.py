"""What the analysis knew of each metric in the course of one play."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace_rollout.simulation.laws import draw
from headrace_rollout.simulation.play import SMALLEST, Play, Played
from headrace_rollout.simulation.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Point:
    """What was known of a metric `at` seconds after the beginning; None: nothing."""

    metric: str
    at: float
    estimate: float | None
    low: float | None
    high: float | None
    margin: float | None
    state: str


def traced(scenario: Scenario, seed: int) -> tuple[Played, list[Point]]:
    """One play on the requests that `simulate` draws first with this seed, and its points in the order of time."""
    first = np.random.SeedSequence(seed).spawn(1)[0]
    play = _Traced(scenario, draw(scenario, np.random.default_rng(first)))
    played = play.run()
    return played, play.points


class _Traced(Play):
    largest = SMALLEST
    points: list[Point]

    def run(self) -> Played:
        self.points = []
        return super().run()

    def _looked(self, now: float) -> None:
        for found in self.analysis.verdicts(now):
            self.points.append(
                Point(found.metric, now, found.estimate, found.low, found.high, found.margin, str(found.state))
            )
