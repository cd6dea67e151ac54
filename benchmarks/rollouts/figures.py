"""Which figures are measured in which scenario, and what they should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headrace_rollout.simulation.run import Summary
from headrace_rollout.simulation.scenario import Scenario

Kind = Literal["rolled back", "promoted", "detected", "requests"]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. `peers` are fixed thresholds and the t-test."""

    figure: str
    target: str
    measured: str
    interval: str
    held: bool
    peers: tuple[str, str]
    bound: str


@dataclass(frozen=True, slots=True)
class Figure:
    """What is measured.

    Attributes:
        scenario: by name.
        kind: which share of the rollouts; `requests`: the mean until a rollback, as a multiple of Wald's.
        target: the share, or the multiple.
        most: whether `target` is the most that it may be, else the least.
    """

    scenario: str
    kind: Kind
    target: float
    most: bool = True

    def row(self, scenario: Scenario, found: Sequence[Summary], wald: float | None) -> Row:
        """The line, from what was simulated."""
        values = [self._value(one, wald) for one in found]
        value, sign = values[0], "<=" if self.most else ">="
        text = [self._text(one) for one in values]
        share = {"rolled back": found[0].rolled_back, "promoted": found[0].promoted, "detected": found[0].detected}
        of = share.get(self.kind)
        return Row(
            figure=f"{scenario.about}: {self._what(scenario)}",
            target=f"{sign} {self._text(self.target)}",
            measured=text[0],
            interval=f"{of.low:.1%}-{of.high:.1%}" if of else f"mean {found[0].requests:.0f}",
            held=value <= self.target if self.most else value >= self.target,
            peers=(text[1], text[2]) if len(text) == 3 and "pairs" not in scenario.about else ("", ""),
            bound="" if wald is None else f"Wald {wald:.0f}",
        )

    def _what(self, scenario: Scenario) -> str:
        if self.kind == "requests":
            return "mean canary requests, by Wald's"
        if self.kind == "detected":
            return f"detected within {scenario.detect_within or scenario.canary_requests:,}"
        return self.kind

    def _value(self, one: Summary, wald: float | None) -> float:
        if self.kind == "requests":
            assert wald is not None, "only rates have this bound"
            return one.requests / wald
        return {"rolled back": one.rolled_back, "promoted": one.promoted, "detected": one.detected}[self.kind].share

    def _text(self, value: float) -> str:
        return f"{value:.2f}x" if self.kind == "requests" else f"{value:.1%}"


FIGURES: tuple[Figure, ...] = (
    Figure("aa", "rolled back", 0.05),
    Figure("aa-heavy-tails", "rolled back", 0.05),
    Figure("aa-drift-and-bursts", "rolled back", 0.05),
    Figure("aa-sticky-0.02", "rolled back", 0.05),
    Figure("aa-sticky-0.1", "rolled back", 0.05),
    Figure("aa-said-less", "rolled back", 0.05),
    Figure("aa-said-more", "rolled back", 0.1),
    Figure("worse-than-margin", "promoted", 0.05),
    Figure("slower-than-margin", "promoted", 0.05),
    Figure("worse-and-sticky", "promoted", 0.05),
    Figure("worse-and-said-less", "promoted", 0.05),
    Figure("errors", "detected", 0.97, most=False),
    Figure("errors", "requests", 1.4),
    Figure("errors-one-of-four", "requests", 1.4),
    Figure("errors-sticky", "detected", 0.9, most=False),
    Figure("slow", "detected", 0.95, most=False),
    Figure("slow-heavy-tail", "detected", 0.95, most=False),
    Figure("quality", "detected", 0.9, most=False),
    Figure("liked-less", "detected", 0.9, most=False),
    Figure("better", "promoted", 0.9, most=False),
    Figure("dear", "detected", 0.99, most=False),
    Figure("one-tenant", "detected", 0.99, most=False),
    Figure("late", "detected", 0.9, most=False),
    Figure("silent", "rolled back", 1.0, most=False),
)
