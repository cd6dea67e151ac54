"""What spending will be by the end of the month, and hours that stand out. Pure; from rows of `usage`."""

from __future__ import annotations

import calendar
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from headrace.types.usage import UsageRow

HISTORY_DAYS = 28
"""Days before today that a forecast goes by."""
LEAST_HOURS = 24
"""Hours of a team that there must be before one of them can stand out."""
_DRAWS, _SEED = 2000, 7
_TO_SIGMA = 0.6745  # a normal law's standard deviation in median absolute deviations, the other way round
_FLOOR = 0.05  # of the median: hours that are all alike must not make a cent an anomaly


@dataclass(frozen=True, slots=True)
class Forecast:
    """US dollars of the month: so far, and at its end, with the 80% interval of days drawn like those before."""

    so_far: float
    expected: float
    low: float
    high: float
    days_seen: int


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An hour of a team that stands out. `z` is the robust z-score: distance from the median by the scaled MAD."""

    tenant: str
    hour: str
    cost_usd: float
    usual_usd: float
    z: float


def forecast(spent: dict[date, float], today: date) -> Forecast:
    """The month's spending at its end.

    Each day to come costs what days like it cost (the same weekday where there are two or more of it, else any day) in
    the last 28 days; the interval is that of sums of such days, drawn 2,000 times with a fixed seed.

    Args:
        spent: US dollars by day, UTC; days without spending may be left out once there was any.
        today: the day that is not over.
    """
    so_far = sum(cost for day, cost in spent.items() if (day.year, day.month) == (today.year, today.month))
    first = min(spent, default=today)
    seen = [day for day in (today - timedelta(days=back) for back in range(1, HISTORY_DAYS + 1)) if day >= first]
    rest = calendar.monthrange(today.year, today.month)[1] - today.day
    ahead = [today + timedelta(days=number) for number in range(rest + 1)]
    if not seen:
        return Forecast(so_far, so_far, so_far, so_far, 0)
    costs = {day: spent.get(day, 0.0) for day in seen}
    by_weekday: dict[int, list[float]] = defaultdict(list)
    for day, cost in costs.items():
        by_weekday[day.weekday()].append(cost)
    everything = list(costs.values())
    pools = [found if len(found := by_weekday[day.weekday()]) > 1 else everything for day in ahead]
    already = spent.get(today, 0.0)
    # Today is not over: it costs at least what it has.
    means = [max(already, statistics.fmean(pools[0])), *map(statistics.fmean, pools[1:])]
    before = so_far - already
    draw = random.Random(_SEED)  # noqa: S311
    sums = sorted(
        before + max(already, draw.choice(pools[0])) + sum(draw.choice(pool) for pool in pools[1:])
        for _ in range(_DRAWS)
    )
    return Forecast(so_far, before + sum(means), sums[_DRAWS // 10], sums[-_DRAWS // 10], len(seen))


def anomalies(rows: Iterable[UsageRow], *, above: float = 6.0, least_usd: float = 0.01) -> list[Anomaly]:
    """Hours in which a team spent far more than it usually does, the farthest first.

    Args:
        rows: of `usage(group_by=["tenant", "hour"])`; hours without spending are none of a team's usual.
        above: robust z-score from which an hour stands out (Iglewicz and Hoaglin, 1993, take 3.5 for one test; an
            hour of each team is one, so the default is higher).
        least_usd: less than that is no matter for anybody.
    """
    teams: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        teams[row.groups["tenant"]][row.groups["hour"]] = float(row.cost_usd)
    found = []
    for tenant, hours in teams.items():
        if len(hours) < LEAST_HOURS:
            continue
        usual = statistics.median(hours.values())
        spread = statistics.median(abs(cost - usual) for cost in hours.values()) / _TO_SIGMA
        spread = max(spread, _FLOOR * usual, least_usd / above)
        for hour, cost in hours.items():
            z = (cost - usual) / spread
            if z > above and cost >= least_usd:
                found.append(Anomaly(tenant, hour, cost, usual, z))
    return sorted(found, key=lambda one: -one.z)


def by_day(rows: Iterable[UsageRow]) -> dict[date, float]:
    """US dollars by day, of `usage(group_by=["day"])`."""
    spent: dict[date, float] = defaultdict(float)
    for row in rows:
        spent[datetime.fromisoformat(row.groups["day"]).date()] += float(row.cost_usd)
    return dict(spent)
