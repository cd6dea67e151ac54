"""Whether two days of traffic differ by more than chance, and by how much: tests on counts in bins.

PSI says how much, with what chance alone would make of it taken off; the two-sample Kolmogorov-Smirnov test (of
numbers) and Pearson's chi-square test of homogeneity (of kinds) say whether; Benjamini-Hochberg holds the share of
false alarms among all alarms of a day.

Sources: B. Yurdakul, "Statistical Properties of Population Stability Index", 2018 (its mean under no change is
(bins - 1) (1/n + 1/m)); W. H. Press et al., "Numerical Recipes", 3rd ed., 6.2 and 14.3; Y. Benjamini and Y. Hochberg,
"Controlling the False Discovery Rate", 1995.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

KS, CHI_SQUARE = "kolmogorov-smirnov", "chi-square"
_LEAST_EXPECTED = 5
_STEPS = 500


def psi(now: Sequence[int], before: Sequence[int]) -> float:
    """The population stability index of counts in the same bins, 0 and more, less what chance alone would make of it.

    Below 0.1 is little, above 0.25 much. An empty bin counts as half a request.
    """
    used = [(a, b) for a, b in zip(now, before, strict=True) if a or b]
    n, m = sum(a for a, _ in used), sum(b for _, b in used)
    if not n or not m:
        return 0.0
    total = 0.0
    for a, b in used:
        p, q = max(a, 0.5) / n, max(b, 0.5) / m
        total += (p - q) * math.log(p / q)
    return max(0.0, total - (len(used) - 1) * (1 / n + 1 / m))


def kolmogorov_smirnov(now: Sequence[int], before: Sequence[int]) -> float:
    """p-value of the two-sample test on counts in ascending bins. Ties within bins make it careful, never hasty."""
    n, m = sum(now), sum(before)
    if not n or not m:
        return 1.0
    a = b = 0
    distance = 0.0
    for x, y in zip(now, before, strict=True):
        a, b = a + x, b + y
        distance = max(distance, abs(a / n - b / m))
    root = math.sqrt(n * m / (n + m))
    return _kolmogorov((root + 0.12 + 0.11 / root) * distance)


def chi_square(now: Sequence[int], before: Sequence[int]) -> float:
    """p-value of the test that both come of one distribution over kinds.

    Kinds of which fewer than five are expected on a side are taken together.
    """
    n, m = sum(now), sum(before)
    if not n or not m:
        return 1.0
    least = _LEAST_EXPECTED * (n + m) / min(n, m)
    cells: list[tuple[int, int]] = []
    rest = (0, 0)
    for a, b in zip(now, before, strict=True):
        if a + b >= least:
            cells.append((a, b))
        else:
            rest = rest[0] + a, rest[1] + b
    if sum(rest):
        cells.append(rest)
    if len(cells) < 2:
        return 1.0
    statistic = 0.0
    for a, b in cells:
        expected = (a + b) * n / (n + m), (a + b) * m / (n + m)
        statistic += (a - expected[0]) ** 2 / expected[0] + (b - expected[1]) ** 2 / expected[1]
    return chi_square_tail(statistic, len(cells) - 1)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """q-values: alarms at q <= a are false in a share of a of all alarms, on average, at most."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at], reverse=True)
    made = [1.0] * len(p_values)
    least = 1.0
    for falling, at in enumerate(order):
        least = min(least, p_values[at] * len(p_values) / (len(p_values) - falling))
        made[at] = least
    return made


def chi_square_tail(statistic: float, degrees: int) -> float:
    """How often a chi-square with so many degrees of freedom is above: the upper regularised incomplete gamma."""
    a, x = degrees / 2, statistic / 2
    if x <= 0:
        return 1.0
    front = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for step in range(1, _STEPS):
            term *= x / (a + step)
            total += term
            if term < total * 1e-15:
                break
        return min(1.0, max(0.0, 1 - front * total))
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    fraction = d
    for step in range(1, _STEPS):
        factor = -step * (step - a)
        b += 2
        d = factor * d + b
        d = 1 / (d if abs(d) > tiny else tiny)
        c = b + factor / c
        c = c if abs(c) > tiny else tiny
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return min(1.0, front * fraction)


def _kolmogorov(x: float) -> float:
    if x < 0.2:
        return 1.0
    total = 2 * sum((1.0 if k % 2 else -1.0) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return min(1.0, max(0.0, total))


def aligned(now: Mapping[str, int], before: Mapping[str, int], bins: Sequence[str]) -> tuple[list[int], list[int]]:
    """Both counts over the same bins: those of `bins`, or where there are none those that either has, sorted."""
    names = list(bins) or sorted({*now, *before})
    return [now.get(name, 0) for name in names], [before.get(name, 0) for name in names]
