"""Draws what requests would do on both arms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace_rollout.analysis.betting import Array, Flags, Integers
from headrace_rollout.analysis.chunk import Chunk
from headrace_rollout.simulation.scenario import Law, Scenario


@dataclass(frozen=True)
class Requests:
    """All requests of a play: when they come, whose they are, and what they would do on an arm.

    Attributes:
        at: seconds.
        keys: of the user.
        place: from 0 to 1: a key is on the candidate while its place is below the weight.
        tenant: of the user.
        fate: from 0 to 1: fails where it is below the rate.
        pairs: by metric, whether the baseline's and the candidate's answers are good.
    """

    at: Array
    keys: Integers
    place: Array
    tenant: Integers
    fate: Array
    more_errors: Array
    errors_times: Array
    latency_times: Array
    users: Integers
    normals: dict[str, Array]
    propensity: tuple[Array, Array]
    pairs: dict[str, tuple[Flags, Flags]]

    def __len__(self) -> int:
        return len(self.at)


def draw(scenario: Scenario, random: np.random.Generator) -> Requests:
    """All requests of one play."""
    traffic, count = scenario.traffic, scenario.requests
    at = _arrivals(scenario, random, count)
    if traffic.users:
        activity = np.exp(traffic.activity * random.normal(size=traffic.users))
        users = random.choice(traffic.users, size=count, p=activity / activity.sum())
        many = traffic.users
    else:
        users, many = np.arange(count), count
    keys = random.integers(0, 1 << 32, many)
    share = traffic.correlation
    drift = traffic.drift
    progress = np.clip(at / drift.over, 0, 1) if drift else np.zeros(count)
    bursts = traffic.bursts
    names = ("total_ms", "ttft_ms", "tpot_ms", "output_tokens", "cost_usd")
    of_user = random.normal(size=many)
    normals = {name: np.sqrt(share) * of_user[users] + np.sqrt(1 - share) * random.normal(size=count) for name in names}
    return Requests(
        at=at,
        keys=keys[users].astype(np.int64),
        place=random.random(many)[users],
        tenant=random.integers(0, traffic.tenants, many)[users],
        fate=random.random(count),
        more_errors=np.where(at % bursts.every < bursts.last, bursts.errors / 10_000, 0.0)
        if bursts
        else np.zeros(count),
        errors_times=1 + progress * (drift.errors - 1 if drift else 0),
        latency_times=1 + progress * (drift.latency - 1 if drift else 0),
        users=users,
        normals=normals,
        propensity=_propensities(scenario, random, many),
        pairs=_pairs(scenario, random, users, many),
    )


def outcomes(scenario: Scenario, requests: Requests, start: int, end: int, weight: float) -> Chunk:
    """Requests from `start` to before `end`, served under a weight."""
    part = slice(start, end)
    at, users = requests.at[part], requests.users[part]
    candidate = requests.place[part] < weight
    law, other = scenario.baseline, scenario.candidate
    differs = candidate & (at >= other.begins)
    if other.tenant is not None:
        differs &= requests.tenant[part] == other.tenant
    propensity = np.where(differs, requests.propensity[1][users], requests.propensity[0][users])
    rate = propensity * requests.errors_times[part] + requests.more_errors[part]
    hard_base = law.timeouts / 10_000
    hard = np.where(differs & (other.timeouts is not None), (other.timeouts or 0) / 10_000, hard_base)
    fate = requests.fate[part]
    failed: list[str | None] = [
        "timeout" if is_hard else "error" if is_error else None
        for is_hard, is_error in zip((fate < hard).tolist(), (fate < hard + rate).tolist(), strict=True)
    ]
    answered = fate >= hard + rate
    values = {}
    for name, column, times, wider in (
        ("total", "total_ms", other.latency, other.latency_sigma),
        ("ttft", "ttft_ms", other.latency, other.latency_sigma),
        ("tpot", "tpot_ms", other.latency, other.latency_sigma),
        ("output_tokens", "output_tokens", other.output_tokens, 1.0),
        ("cost", "cost_usd", other.cost, 1.0),
    ):
        if getattr(scenario.analysis, name) is None:
            continue
        of: Law = getattr(law, column)
        sigma = of.sigma * np.where(differs, wider, 1.0)
        drawn = of.median * np.where(differs, times, 1.0) * np.exp(sigma * requests.normals[column][part])
        if name in ("total", "ttft", "tpot"):
            drawn = drawn * requests.latency_times[part]
        values[name] = np.where(answered, drawn, np.nan)
    for name in scenario.analysis.scores:
        good = np.where(differs, other.scores.get(name, law.scores.get(name, 9_000)), law.scores.get(name, 9_000)) / 1e4
        scored = np.where(differs, law.scored if other.scored is None else other.scored, law.scored) / 1e4
        has_one = answered & ((fate * 104_729.0) % 1.0 < scored)
        values[f"scores.{name}"] = np.where(has_one, ((fate * 7919.0) % 1.0 < good).astype(float), np.nan)
    missing = scenario.missing
    if missing is not None and missing.metric is not None and missing.metric in values:
        values[missing.metric] = np.where(candidate & (at >= missing.after), np.nan, values[missing.metric])
    chunk = Chunk(
        at=at,
        weight=np.full(end - start, weight),
        candidate=candidate,
        keys=requests.keys[part],
        failed=failed,
        values=values,
        groups=_groups(scenario, requests.tenant[part]),
    )
    if missing is not None and missing.metric is None:
        return chunk.only(~(candidate & (at >= missing.after)))
    return chunk


def _arrivals(scenario: Scenario, random: np.random.Generator, count: int) -> Array:
    traffic = scenario.traffic
    per_s = traffic.requests_per_minute / 60
    passed: Array = np.cumsum(random.exponential(size=count))
    if traffic.drift is None and traffic.bursts is None:
        return passed / per_s
    grid = np.linspace(0, 2 * passed[-1] / per_s / min(1.0, traffic.drift.traffic if traffic.drift else 1.0), 20_001)
    rate = np.full(len(grid), per_s)
    if traffic.drift:
        rate = rate * (1 + np.clip(grid / traffic.drift.over, 0, 1) * (traffic.drift.traffic - 1))
    if traffic.bursts:
        rate = rate * np.where(grid % traffic.bursts.every < traffic.bursts.last, traffic.bursts.traffic, 1.0)
    sums = np.concatenate(([0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(grid))))
    at: Array = np.interp(passed, sums, grid)
    return at


def _propensities(scenario: Scenario, random: np.random.Generator, many: int) -> tuple[Array, Array]:
    """How often each user's requests fail on either arm: the same for all, or of a beta law."""
    base = scenario.baseline.errors / 10_000
    other = base if scenario.candidate.errors is None else scenario.candidate.errors / 10_000
    share = scenario.traffic.correlation
    drawn = []
    for rate in (base, other):
        if not share or not 0 < rate < 1:
            drawn.append(np.full(many, rate))
            continue
        size = 1 / share - 1
        drawn.append(random.beta(rate * size, (1 - rate) * size, size=many))
    if other == base:
        return drawn[0], drawn[0]
    return drawn[0], drawn[1]


def _pairs(
    scenario: Scenario, random: np.random.Generator, users: Integers, many: int
) -> dict[str, tuple[Flags, Flags]]:
    drawn = {}
    share = scenario.traffic.correlation
    for name, law in scenario.pairs.items():
        discordant, worse = law.discordant / 10_000, law.worse / 100
        fate = random.random(len(users))
        if share:
            # a part of the requests does what the user does
            same = random.random(len(users)) < np.sqrt(share)
            fate = np.where(same, random.random(many)[users], fate)
        lost = fate < (discordant + worse) / 2
        won = ~lost & (fate < discordant)
        drawn[name] = (~won, ~lost)
    return drawn


def _groups(scenario: Scenario, tenant: Integers) -> dict[str, Integers]:
    if "tenant" not in scenario.analysis.segments:
        return {}
    most = scenario.analysis.segments_most
    return {f"tenant={name}": np.flatnonzero(tenant == name) for name in range(min(most, scenario.traffic.tenants))}
