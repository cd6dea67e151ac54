"""How long until something is known: for whoever plans a rollout."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from headrace_rollout.simulation.run import played
from headrace_rollout.simulation.scenario import parse

TRAFFIC = (3, 30, 300, 3_000)
"""Requests a minute."""

_ONLY_ERRORS: dict[str, Any] = {"failures": None, "total": None}
_ONLY_TOTAL: dict[str, Any] = {"errors": None, "failures": None}
_ONLY_PAIRS: dict[str, Any] = {"errors": None, "failures": None, "total": None}
_FIRST: dict[str, Any] = {"steps": [{"weight": "10%"}, {"weight": "100%"}]}
_PAIRS: dict[str, Any] = {
    "steps": [{"weight": "0%"}, {"weight": "100%"}],
    "analysis": {**_ONLY_PAIRS, "pairs": {"graded": {}}},
}

_ASKED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("harm: errors 1% to 10%", {"analysis": _ONLY_ERRORS, "candidate": {"errors": "10%"}}),
    ("harm: errors 1% to 5%", {"analysis": _ONLY_ERRORS, "candidate": {"errors": "5%"}}),
    ("harm: latency +50%", {"analysis": _ONLY_TOTAL, "candidate": {"latency": 1.5}}),
    (
        "harm: latency +50%, heavy tail",
        {"analysis": _ONLY_TOTAL, "candidate": {"latency": 1.5}}
        | {"baseline": {"total_ms": {"median": 800, "sigma": 1.5}}},
    ),
    ("harm: quality -5 points, all shadowed", _PAIRS | {"pairs": {"graded": {"worse": 5}}}),
    (
        "harm: quality -2 points, all shadowed",
        _PAIRS
        | {"pairs": {"graded": {"worse": 2, "discordant": "10%"}}}
        | {"analysis": {**_ONLY_PAIRS, "pairs": {"graded": {"max_decrease": "0%"}}}},
    ),
    ("good: errors within 1 point", _FIRST | {"analysis": _ONLY_ERRORS}),
    ("good: latency within 20%", _FIRST | {"analysis": _ONLY_TOTAL}),
    ("good: quality within 2 points, all shadowed", _PAIRS | {"pairs": {"graded": {}}}),
)
ROWS = len(_ASKED)
_PER_MINUTE = 600.0
_MOST = 60_000


@dataclass(frozen=True, slots=True)
class Row:
    """What is asked, and after how many requests of both arms, or pairs, 9 of 10 rollouts know it; inf: later."""

    what: str
    requests: float


def plan(
    plays: int, *, seed: int = 0, workers: int = 1, progress: Callable[[int], None] = lambda done: None
) -> list[Row]:
    """Simulate each row of the table `plays` times."""
    rows = []
    for place, (what, asked) in enumerate(_ASKED):
        limits = {"canary_requests": _MOST, "requests": _MOST, "traffic": {"requests_per_minute": _PER_MINUTE}}
        scenario = parse(limits | asked, what)
        shown = partial(_shown, progress, place * plays)
        games = played(scenario, plays, seed=seed, workers=workers, progress=shown)
        wanted = "rolled back" if what.startswith("harm") else "promoted"
        known = sorted(game.ours.at / 60 * _PER_MINUTE for game in games if game.ours.end == wanted)
        nine_of_ten = math.ceil(0.9 * plays) - 1
        rows.append(Row(what, known[nine_of_ten] if nine_of_ten < len(known) else math.inf))
    return rows


def _shown(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)
