"""Plays a scenario many times, on several cores, and sums up."""

from __future__ import annotations

import math
import multiprocessing
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from headrace_rollout.simulation.play import Game, Played, play
from headrace_rollout.simulation.scenario import Scenario

BATCH = 16


@dataclass(frozen=True, slots=True)
class Share:
    """A share of plays, and where it lies with 95%: Wilson's interval."""

    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What a judge did in all plays.

    Attributes:
        judge: ours, or a peer.
        plays: how many.
        rolled_back, promoted: shares of plays; held too long and missing count as rolled back.
        detected: rolled back because of harm within `detect_within` requests, if that is set, else at all.
        requests: mean requests of the candidate (or pairs) until a rollback for harm, or the limit where there is none.
        requests_p50, requests_p95: quantiles of that.
        minutes_p50, minutes_p95: the same in time; None where fewer were rolled back.
        ends: plays by how they ended and why.
    """

    judge: str
    plays: int
    rolled_back: Share
    promoted: Share
    detected: Share
    requests: float
    requests_p50: float
    requests_p95: float
    minutes_p50: float | None
    minutes_p95: float | None
    ends: dict[str, int]


def simulate(
    scenario: Scenario,
    plays: int,
    *,
    seed: int = 0,
    workers: int = 1,
    with_peers: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Summary]:
    """Play a scenario `plays` times; the same seed gives the same plays. Ours first, then the peers."""
    games = played(scenario, plays, seed=seed, workers=workers, with_peers=with_peers, progress=progress)
    summaries = [summarise("headrace", scenario, [game.ours for game in games])]
    for name in games[0].peers:
        summaries.append(summarise(name, scenario, [game.peers[name] for game in games]))
    return summaries


def played(
    scenario: Scenario,
    plays: int,
    *,
    seed: int,
    workers: int,
    with_peers: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Game]:
    """Each play of a scenario."""
    seeds = np.random.SeedSequence(seed).spawn(plays)
    batches = [seeds[start : start + BATCH] for start in range(0, plays, BATCH)]
    one = partial(_batch, scenario, with_peers)
    games: list[Game] = []
    if workers <= 1 or len(batches) == 1:
        for batch in batches:
            games += one(batch)
            progress(len(games))
    else:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for batch_of_games in pool.map(one, batches):
                games += batch_of_games
                progress(len(games))
    return games


def summarise(judge: str, scenario: Scenario, plays: Sequence[Played]) -> Summary:
    """Sum up plays."""
    limit = scenario.detect_within or scenario.canary_requests
    harmed = [one for one in plays if one.end == "rolled back"]
    until = np.asarray([min(one.requests, limit) if one.end == "rolled back" else limit for one in plays], float)
    detected = sum(one.requests <= limit for one in harmed)
    stopped = sum(one.end in ("rolled back", "held too long", "missing") for one in plays)
    minutes = sorted(one.at / 60 for one in harmed)

    def after(quantile: float) -> float | None:
        place = math.ceil(quantile * len(plays)) - 1
        return minutes[place] if place < len(minutes) else None

    return Summary(
        judge=judge,
        plays=len(plays),
        rolled_back=share_of(stopped, len(plays)),
        promoted=share_of(sum(one.end == "promoted" for one in plays), len(plays)),
        detected=share_of(detected, len(plays)),
        requests=float(until.mean()),
        requests_p50=float(np.quantile(until, 0.5)),
        requests_p95=float(np.quantile(until, 0.95)),
        minutes_p50=after(0.5),
        minutes_p95=after(0.95),
        ends=dict(Counter(f"{one.end}: {one.cause}" if one.cause else one.end for one in plays).most_common(8)),
    )


def share_of(count: int, of: int) -> Share:
    """A share and its 95% interval (Wilson 1927)."""
    z, share = 1.96, count / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return Share(share, max(0.0, middle - half), min(1.0, middle + half))


def bound(scenario: Scenario) -> float | None:
    """Wald's mean number of the candidate's requests to tell its error rate from the baseline's, with both known.

    For a test at this metric's part of alpha that misses 3%: ((1 - b) ln((1 - b) / a) + b ln(b / (1 - a))) / KL.
    None where rates do not differ, or errors are not judged.
    """
    metrics = dict(scenario.analysis.metrics())
    if "errors" not in metrics or scenario.candidate.errors is None:
        return None
    base = (scenario.baseline.errors + scenario.baseline.timeouts) / 10_000
    rate = (scenario.candidate.errors + (scenario.candidate.timeouts or scenario.baseline.timeouts)) / 10_000
    if not 0 < base < rate < 1:
        return None
    alpha = scenario.analysis.alpha / 10_000
    alpha *= metrics["errors"].share / sum(metric.share for metric in metrics.values())
    return wald(base, rate, alpha)


def wald(base: float, rate: float, alpha: float, missed: float = 0.03) -> float:
    """Wald's mean sample size under the alternative, for two known rates."""
    information = rate * math.log(rate / base) + (1 - rate) * math.log((1 - rate) / (1 - base))
    needed = (1 - missed) * math.log((1 - missed) / alpha) + missed * math.log(missed / (1 - alpha))
    return needed / information


def _batch(scenario: Scenario, with_peers: bool, seeds: Sequence[Any]) -> list[Game]:
    return [play(scenario, seed, with_peers) for seed in seeds]
