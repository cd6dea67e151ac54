"""Pairs that a model compared: how many it takes until something is known, by how much the model errs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.rollouts.figures import Row
from headrace_evals.agreement import Agreement
from headrace_evals.statistics import binomial_interval
from headrace_kit.config.rollout_analysis import Analysis as Spec
from headrace_rollout.analysis import Analysis
from headrace_rollout.analysis.keys import hash_of

ALPHA, MARGIN, TIES = 0.05, 0.05, 0.5
PLAYS, MOST, AT_ONCE = 100, 40_000, 500
WORSE = MARGIN * 1.01
_KEYS = np.asarray([hash_of(f"u{number}") for number in range(MOST)], np.int64)


@dataclass(frozen=True, slots=True)
class Referee:
    """A judge: shares of people's decisions in which it is right and wrong, and labels that people made."""

    right: float
    wrong: float
    labels: int


REFEREES = (Referee(0.95, 0.01, 200), Referee(0.85, 0.05, 200), Referee(0.85, 0.05, 50), Referee(0.7, 0.2, 200))


def judged(seed: int, plays: int = PLAYS) -> list[Row]:
    """A row for each judge."""
    return [_row(referee, np.random.default_rng([seed, place]), plays) for place, referee in enumerate(REFEREES)]


def _row(referee: Referee, random: np.random.Generator, plays: int) -> Row:
    same = [_play(referee, random, 0.0) for _ in range(plays)]
    worse = [_play(referee, random, WORSE) for _ in range(plays)]
    needed = sorted(pairs if state == "within" else MOST for state, pairs in same)[int(0.9 * plays) - 1]
    rolled_back = sum(state == "beyond" for state, _ in same)
    promoted = sum(state == "within" for state, _ in worse)
    text = f"{needed:,}" if needed < MOST else f"over {MOST:,}"
    return Row(
        figure=f"judge right in {referee.right:.0%} and wrong in {referee.wrong:.0%}, {referee.labels} labels: pairs "
        "until a candidate that is no worse passes, 9 of 10",
        target=f"errs <= {ALPHA:.0%}",
        measured=text,
        interval=f"no worse rolled back {_share(rolled_back, plays)}, worse promoted {_share(promoted, plays)}",
        held=max(rolled_back, promoted) <= ALPHA * plays,
        peers=("", ""),
        bound="",
    )


def _play(referee: Referee, random: np.random.Generator, worse_by: float) -> tuple[str, int]:
    """A rollout with this judge alone, until something is known or nothing comes of it; the state and its pairs."""
    analysis = Analysis(
        Spec.model_validate(
            {
                "alpha": f"{ALPHA:.0%}",
                "errors": None,
                "failures": None,
                "total": None,
                "pairs": {"judge": {"max_decrease": f"{MARGIN:.0%}"}},
            }
        )
    )
    odds = (referee.right, 1 - referee.right - referee.wrong, referee.wrong)
    analysis.calibrate(Agreement(*map(int, random.multinomial(referee.labels, odds))))
    decided = 1 - TIES
    people = ((decided - worse_by) / 2, (decided + worse_by) / 2, TIES)
    for start in range(0, MOST, AT_ONCE):
        end = start + AT_ONCE
        preferred = random.choice((1, -1, 0), size=AT_ONCE, p=people)
        said = preferred * random.choice((1, 0, -1), size=AT_ONCE, p=odds)
        analysis.feed_pairs(
            "judge", _KEYS[start:end], np.arange(start, end, dtype=float), (1 - said) / 2, (1 + said) / 2
        )
        state = analysis.states(None)["pairs.judge"]
        if state != "undecided":
            return state, end
    return "undecided", MOST


def _share(count: int, plays: int) -> str:
    low, high = binomial_interval(count, plays, 0.05)
    return f"{count / plays:.0%} ({low:.1%}-{high:.1%})"
