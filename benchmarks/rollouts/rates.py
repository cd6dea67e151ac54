"""How soon more failures are seen, over rates, increases and weights that no setting was made for.

Failures alone, each request a key of its own, so that thousands of rollouts are played in a minute: the bets of the
analysis at their real odds, without the rest of it. Beside it stands what nobody can do better by the arms of failures,
also with both rates known and with no other aim than this very scenario.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np

from benchmarks.rollouts.figures import Row
from headrace_rollout.analysis.betting import Array, EventBets, Flags
from headrace_rollout.analysis.judge import FIRST
from headrace_rollout.analysis.rates import PRIOR, ratios
from headrace_rollout.simulation.run import share_of, wald

MARGIN = 0.01
TIMES_WALD = 4.5
"""A rollback counts as detection within so many times Wald's mean: 300 requests for 1% and 5%."""
PLAYS, MANY, AA_REQUESTS = 1_000, 10_000, 3_000


@dataclass(frozen=True, slots=True)
class Case:
    """Rates of failures on both arms, the candidate's share of requests, and alpha."""

    base: float
    rate: float
    weight: float = 0.1
    alpha: float = 0.05

    @property
    def wald(self) -> float:
        """Wald's mean, with both rates known."""
        return wald(self.base, self.rate, self.alpha)


MAIN = Case(0.01, 0.05)
CASES = (
    Case(0.01, 0.05, alpha=0.0125),
    Case(0.001, 0.01),
    Case(0.001, 0.05),
    Case(0.003, 0.015),
    Case(0.01, 0.02),
    Case(0.01, 0.03),
    Case(0.01, 0.1),
    Case(0.03, 0.09),
    Case(0.1, 0.2),
    Case(0.01, 0.05, weight=0.02),
    Case(0.01, 0.05, weight=0.25),
    Case(0.01, 0.05, weight=0.5),
    Case(0.05, 0.15, weight=0.5),
)


def rates(seed: int) -> list[Row]:
    """A row for each case: detection where the candidate fails more often, and rollbacks where it does not."""
    rows = [_row(MAIN, MANY, seed, 0.97)]
    rows += [_row(case, PLAYS, seed, None) for case in CASES]
    rows += [_same(base, weight, seed) for base in (0.001, 0.01, 0.1) for weight in (0.1, 0.5)]
    return rows


def _row(case: Case, plays: int, seed: int, target: float | None) -> Row:
    limit = round(TIMES_WALD * case.wald)
    found = _plays(case, limit, plays, seed)
    seen, mean = found <= limit, float(np.minimum(found, limit).mean()) / case.wald
    share = share_of(int(seen.sum()), plays)
    known = best(case, limit) if target is not None else None
    return Row(
        figure=f"errors {case.base:.1%} to {case.rate:.1%} at {case.weight:.0%}, alpha {case.alpha:.2%}: detected "
        f"within {limit:,}; mean, by Wald's",
        target="" if target is None else f">= {target:.1%}; <= 1.40x",
        measured=f"{share.share:.1%}; {mean:.2f}x",
        interval=f"{share.low:.1%}-{share.high:.1%}",
        held=target is None or (share.share >= target and mean <= 1.4),
        peers=("", ""),
        bound=f"Wald {case.wald:.0f}" + (f", arms {known[0]:.1%}; {known[1] / case.wald:.2f}x" if known else ""),
    )


def _same(base: float, weight: float, seed: int) -> Row:
    case = Case(base, base, weight)
    share = share_of(int((_plays(case, AA_REQUESTS, PLAYS, seed) <= AA_REQUESTS).sum()), PLAYS)
    return Row(
        figure=f"no difference, errors {base:.1%} at {weight:.0%}: rolled back within {AA_REQUESTS:,}",
        target="<= 5.0%",
        measured=f"{share.share:.1%}",
        interval=f"{share.low:.1%}-{share.high:.1%}",
        held=share.low <= case.alpha,
        peers=("", ""),
        bound="",
    )


def _plays(case: Case, limit: int, plays: int, seed: int) -> Array:
    """The candidate's requests until harm is shown, by play; beyond `limit` where it is not."""
    random = np.random.default_rng([seed, *(round(1e4 * part) for part in (case.base, case.rate, case.weight))])
    total = math.ceil(1.3 * limit / case.weight) + 100
    return np.asarray([_play(case, limit, total, random) for _ in range(plays)], float)


def _play(case: Case, limit: int, total: int, random: np.random.Generator) -> int:
    candidate: Flags = random.random(total) < case.weight
    failed = random.random(total) < np.where(candidate, case.rate, case.base)
    served = np.cumsum(candidate)
    failures = 0
    bets = EventBets(case.alpha * FIRST, PRIOR)
    for place in np.flatnonzero(failed).tolist():
        requests = int(served[place])
        if requests > limit:
            break
        on_candidate = bool(candidate[place])
        before = place - requests + (1 if on_candidate else 0)
        bets.add(on_candidate, case.weight, ratios(MARGIN, before, failures))
        if bets.shown:
            return requests
        failures += not on_candidate
    return limit + 1


def best(case: Case, limit: int, missed: float = 600.0) -> tuple[float, float]:
    """The share that is detected within `limit` and the mean number of requests of the best rule on arms of failures.

    It knows both rates, that `limit` ends it, and that the mean plus `missed` requests for each one that it does not
    detect is what it must make small, and has no other duty but alpha. Found backwards from all ways in which arms can
    fall (Wald & Wolfowitz 1950), with the price of a false alarm that makes up alpha.
    """
    low, high = 1.0, 1e7
    for _ in range(30):
        price = math.sqrt(low * high)
        rule = _Rule(case, limit, missed, price)
        low, high = (price, high) if rule.stops(case.weight)[0] > case.alpha else (low, price)
    _, detected, mean = _Rule(case, limit, missed, high).stops(None)
    return detected, mean


class _Rule:
    """The best rule at a price of a false alarm: after so many failures, stop from so many of the candidate's on."""

    def __init__(self, case: Case, limit: int, missed: float, price: float) -> None:
        each = (case.weight * case.rate + (1 - case.weight) * case.base) / case.weight
        self.limit, self.share = limit, case.weight * case.rate / (each * case.weight)
        self.most = math.ceil(each * limit + 8 * math.sqrt(each * limit) + 20)
        self.in_time, self.until = _times(each, limit, self.most)
        win, loss = math.log(self.share / case.weight), math.log((1 - self.share) / (1 - case.weight))
        after = np.full(self.most + 2, limit + missed)
        stopped = []
        for count in range(self.most, -1, -1):
            on_candidate = np.arange(count + 1)
            go_on = self.share * after[1 : count + 2] + (1 - self.share) * after[: count + 1]
            odds = np.exp(-on_candidate * win - (count - on_candidate) * loss)
            stop = self.until[count] + missed * (1 - self.in_time[count]) + price * odds
            stopped.append(stop < go_on)
            after = np.minimum(stop, go_on)
        self.stopped = stopped[::-1]

    def stops(self, share: float | None) -> tuple[float, float, float]:
        """Chance to stop, to stop in time, and the mean, where `share` of the failures are the candidate's."""
        share = self.share if share is None else share
        chance, stops, detected, mean = np.ones(1), 0.0, 0.0, 0.0
        for stopped, in_time, until in zip(self.stopped, self.in_time, self.until, strict=True):
            here = float(chance[stopped].sum())
            stops, detected, mean = stops + here, detected + here * in_time, mean + here * until
            chance = np.where(stopped, 0.0, chance)
            chance = np.append(chance * (1 - share), 0.0) + np.append(0.0, chance * share)
        return stops, detected, mean + (1 - stops) * self.limit


def _times(each: float, limit: int, most: int) -> tuple[list[float], list[float]]:
    """By a number of failures: the chance that they come within `limit` requests, and the mean of when, cut there."""
    logs = np.arange(most + 2) * math.log(each * limit) - each * limit
    logs -= np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, most + 2)))))
    below = np.concatenate(([0.0], np.cumsum(np.exp(logs))))  # chance of fewer failures than that
    in_time = 1 - below[: most + 1]
    counts = np.arange(most + 1)
    until = counts / each * (1 - below[1 : most + 2]) + limit * below[: most + 1]
    return cast(list[float], in_time.tolist()), cast(list[float], until.tolist())
