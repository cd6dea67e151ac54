"""What a run of a suite found: kept as JSON, compared and reported later."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
from msgspec import Struct, field

from headrace_evals.judging import Calibration
from headrace_evals.ports import Arm
from headrace_evals.suite import ERRORS, QUANTITIES


class ResultInvalid(ValueError):
    """A file holds no results."""


class Scored(Struct, frozen=True, omit_defaults=True):
    """One item and its answer. Scores and quantities are means over its repetitions; `errors` is the share of them
    that got no answer, `error` the last such code. An item without any answer has scores of 0 and no quantities."""

    id: str
    text: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    quantities: dict[str, float] = field(default_factory=dict)
    errors: float = 0.0
    error: str = ""
    deployment: str = ""
    trace_id: str = ""


class Row(Struct, frozen=True, omit_defaults=True):
    """An item that is done: as it was graded on each arm, and how often a judge changed its mind about it."""

    scored: list[Scored]
    unsteady: int = 0


class Result(Struct, frozen=True):
    """A run of a suite on one arm. `digest` names suite and items; `at` is RFC 3339."""

    suite: str
    digest: str
    arm: Arm
    at: str
    items: list[Scored]
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def values(self, metric: str) -> dict[str, float]:
        """A metric by item; items that have none are left out."""
        if metric == ERRORS:
            return {item.id: item.errors for item in self.items}
        if metric in QUANTITIES:
            return {item.id: item.quantities[metric] for item in self.items if metric in item.quantities}
        return {item.id: item.scores[metric] for item in self.items if metric in item.scores}

    def mean(self, metric: str) -> float | None:
        """The mean of a metric; None where no item has it."""
        values = list(self.values(metric).values())
        return math.fsum(values) / len(values) if values else None

    def metrics(self) -> list[str]:
        """The metrics that some item has, scores first."""
        scores = dict.fromkeys(name for item in self.items for name in item.scores)
        return [*scores, *(name for name in QUANTITIES if self.values(name)), ERRORS]


def write(path: Path, results: list[Result]) -> None:
    """Keep results."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def read(path: Path) -> list[Result]:
    """Results that were kept. Raises ResultInvalid."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Result])
    except (OSError, msgspec.MsgspecError) as error:
        what = getattr(error, "strerror", None) or error
        raise ResultInvalid(f"{path}: these are no results of headrace eval: {what}") from error
