"""Drift: the last days' profiles held against those of a time before."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from headrace_tracing.domain import drifting
from headrace_tracing.domain.profiles import FEATURES, Profile

Group = tuple[str, str, str, str]
"""Tenant, model, collection, feature."""


@dataclass(frozen=True, slots=True)
class Window:
    """Days from 1970 (UTC), first and last included."""

    first: int
    last: int

    def __contains__(self, day: int) -> bool:
        return self.first <= day <= self.last


@dataclass(frozen=True, slots=True)
class Limits:
    """When a difference is drift: with `least` requests on both sides, at `alpha` of false alarms among the alarms of a
    look, and from `psi` on."""

    least: int = 100
    psi: float = 0.2
    alpha: float = 0.01


@dataclass(frozen=True, slots=True)
class Drift:
    """One feature of one group, now and before.

    Attributes:
        psi: how much it differs. See `drifting.psi`.
        test: its name. `p_value` and `q_value` are None with too few requests on a side.
        drifted: whether it is more than chance, and enough to matter.
        bins: name of a bin, requests in it now, and before.
        days: day, requests, and the day's own psi against the same time before.
    """

    tenant: str
    model: str
    collection: str
    feature: str
    psi: float
    test: str
    p_value: float | None
    q_value: float | None
    drifted: bool
    count: int
    reference_count: int
    bins: tuple[tuple[str, int, int], ...]
    days: tuple[tuple[int, int, float], ...]


def judged(profiles: Iterable[Profile], now: Window, before: Window, limits: Limits) -> list[Drift]:
    """Every group that has requests now: those that drifted first, then by how much they differ."""
    learned: dict[Group, dict[int, dict[int, Mapping[str, int]]]] = defaultdict(lambda: defaultdict(dict))
    for profile in profiles:
        if profile.feature in FEATURES:
            group = profile.tenant, profile.model, profile.collection, profile.feature
            learned[group][profile.learned][profile.day] = profile.counts
    found = [
        one
        for group, sets in learned.items()
        if (one := _one(group, _fitting(sets, now, before), now, before, limits)) is not None
    ]
    tested = [at for at, one in enumerate(found) if one.p_value is not None]
    q_values = drifting.adjusted([p for at in tested if (p := found[at].p_value) is not None])
    for at, q_value in zip(tested, q_values, strict=True):
        drifted = q_value <= limits.alpha and found[at].psi >= limits.psi
        found[at] = replace(found[at], q_value=q_value, drifted=drifted)
    return sorted(
        found, key=lambda one: (not one.drifted, -one.psi, one.tenant, one.model, one.collection, one.feature)
    )


def _fitting(
    sets: Mapping[int, Mapping[int, Mapping[str, int]]], now: Window, before: Window
) -> Mapping[int, Mapping[str, int]]:
    """Of topics that were learned more than once, those that were counted on most of the days; the earlier of two."""

    def days(learned: int) -> tuple[int, int, int]:
        counted = sets[learned]
        return sum(day in now for day in counted), sum(day in before for day in counted), -learned

    return sets[max(sets, key=days)]


def _one(
    group: Group, days: Mapping[int, Mapping[str, int]], now: Window, before: Window, limits: Limits
) -> Drift | None:
    here = _sum(counts for day, counts in days.items() if day in now)
    there = _sum(counts for day, counts in days.items() if day in before)
    if not here:
        return None
    bins = FEATURES[group[3]].bins
    names = bins or tuple(sorted({*here, *there}))
    x, y = drifting.aligned(here, there, names)
    enough = min(sum(x), sum(y)) >= limits.least
    p_value = None
    if enough:
        p_value = drifting.kolmogorov_smirnov(x, y) if bins else drifting.chi_square(x, y)
    return Drift(
        *group,
        psi=drifting.psi(x, y),
        test=drifting.KS if bins else drifting.CHI_SQUARE,
        p_value=p_value,
        q_value=None,
        drifted=False,
        count=sum(x),
        reference_count=sum(y),
        bins=tuple(zip(names, x, y, strict=True)),
        days=tuple(_day(day, days[day], there, bins) for day in sorted(days)),
    )


def _day(day: int, counts: Mapping[str, int], there: Mapping[str, int], bins: Sequence[str]) -> tuple[int, int, float]:
    return day, sum(counts.values()), drifting.psi(*drifting.aligned(counts, there, bins))


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return total
