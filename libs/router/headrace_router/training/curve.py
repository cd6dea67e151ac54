"""Quality against cost: a curve's points, what is met where, the area below, and a drawing of it.

The area is that of *A Unified Approach to Routing and Cascading for LLMs* (Dekoninck, Baader, Vechev; ICML 2025): the
points joined by straight lines, from the mean cost of the cheapest single deployment to that of the dearest, divided by
the length of that range. A curve that begins later starts from the lowest single quality at the left end; one that ends
earlier goes on flat. In percent, as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from headrace_router.predictors import Array


@dataclass(frozen=True)
class Curve:
    """Points of one way to choose, by mean cost in US dollars and mean quality."""

    name: str
    costs: Array
    qualities: Array

    def quality_at(self, cost: float) -> float:
        """The best quality for at most `cost`: mixing two of its points by chance is allowed (upper hull)."""
        x, y = hull(self.costs, self.qualities)
        return float("nan") if cost < x[0] else float(np.interp(cost, x, y))

    def cost_of(self, quality: float) -> float:
        """The least cost of at least `quality`, on the same hull; infinite where it is never reached."""
        x, y = hull(self.costs, self.qualities)
        return float("inf") if quality > y[-1] + 1e-12 else float(np.interp(quality, y, x))


def hull(costs: Array, qualities: Array) -> tuple[Array, Array]:
    """The points on the upper left hull, rising."""
    kept: list[tuple[float, float]] = []
    for x, y in sorted(zip(costs.tolist(), qualities.tolist(), strict=True), key=lambda point: (point[0], -point[1])):
        if kept and y <= kept[-1][1]:
            continue
        while len(kept) > 1 and (kept[-1][1] - kept[-2][1]) * (x - kept[-2][0]) <= (y - kept[-2][1]) * (
            kept[-1][0] - kept[-2][0]
        ):
            kept.pop()
        kept.append((x, y))
    return np.array([x for x, _ in kept]), np.array([y for _, y in kept])


def linear(costs: Array, scores: Array) -> Curve:
    """Choosing between single deployments by chance: the hull of their means."""
    return Curve("linear interpolation", *hull(costs.mean(axis=0), scores.mean(axis=0)))


def area(curve: Curve, single_costs: Array, single_qualities: Array) -> float:
    """The area below a curve, 0 to 100."""
    left, right = float(single_costs.min()), float(single_costs.max())
    order = np.lexsort((curve.qualities, curve.costs))
    x, y = curve.costs[order], curve.qualities[order]
    if x[0] > left:
        x, y = np.concatenate([[left], x]), np.concatenate([[single_qualities.min()], y])
    grid = np.unique(np.concatenate([[left, right], x[(x > left) & (x < right)]]))
    return float(100 * np.trapezoid(np.interp(grid, x, y), grid) / (right - left)) if right > left else float("nan")


_COLOURS = ("#0b6e99", "#c0392b", "#2e8b57", "#8e44ad", "#b9770e", "#555555")


def draw(
    curves: Sequence[Curve],
    points: Sequence[tuple[str, float, float]],
    *,
    title: str,
    marks: Sequence[tuple[str, float, float]] = (),
) -> str:
    """An SVG of curves and of single deployments (name, cost, quality); `marks` are points that were chosen."""
    width, height, left, right, top, bottom = 860, 520, 70, 30, 46, 56
    xs = np.concatenate([*(curve.costs for curve in curves), [cost for _, cost, _ in (*points, *marks)]])
    ys = np.concatenate([*(curve.qualities for curve in curves), [good for _, _, good in (*points, *marks)]])
    xs, ys = xs[np.isfinite(xs)], ys[np.isfinite(ys)]
    most = float(xs.max()) * 1.05 or 1.0
    low, high = float(ys.min()), float(ys.max())
    low, high = low - 0.04 * (high - low or 1), high + 0.06 * (high - low or 1)

    def at(cost: float, quality: float) -> tuple[float, float]:
        x = left + (width - left - right) * cost / most
        y = height - bottom - (height - top - bottom) * (quality - low) / (high - low)
        return round(x, 1), round(y, 1)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="26" font-size="15">{escape(title)}</text>',
    ]
    for step in range(6):
        cost, quality = most * step / 5, low + (high - low) * step / 5
        (x, _), (_, y) = at(cost, low), at(0, quality)
        lines += [
            f'<path d="M{x} {top}V{height - bottom}M{left} {y}H{width - right}" stroke="#e4e4e4"/>',
            f'<text x="{x}" y="{height - bottom + 18}" text-anchor="middle">{cost * 1000:.3g}</text>',
            f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{quality:.3f}</text>',
        ]
    middle = (left + width - right) // 2
    lines += [
        f'<text x="{middle}" y="{height - 14}" text-anchor="middle">mean cost of 1,000 prompts, US dollars</text>',
        f'<text transform="translate(18 {height // 2}) rotate(-90)" text-anchor="middle">mean quality</text>',
    ]
    for place, curve in enumerate(curves):
        colour = _COLOURS[place % len(_COLOURS)]
        order = np.argsort(curve.costs, kind="stable")
        path = " ".join("{},{}".format(*at(float(curve.costs[one]), float(curve.qualities[one]))) for one in order)
        y = height - bottom - 20 - 18 * (len(curves) - 1 - place)
        lines += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<path d="M{width - right - 190} {y - 4}h24" stroke="{colour}" stroke-width="2"/>',
            f'<text x="{width - right - 160}" y="{y}">{escape(curve.name)}</text>',
        ]
    for shape, named in (("#555555", points), ("#d62728", marks)):
        for name, cost, quality in named:
            x, y = at(cost, quality)
            lines.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{shape}"/>')
            end = x > width - 190
            lines.append(
                f'<text x="{x - 7 if end else x + 7}" y="{y - 7}" text-anchor="{"end" if end else "start"}" '
                f'fill="{shape}">{escape(name)}</text>'
            )
    return "\n".join([*lines, "</svg>"]) + "\n"
