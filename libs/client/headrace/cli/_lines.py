"""An interval over time as an SVG: what was known of one metric, the margin, and when it was crossed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 860, 260, 80, 30, 40, 40
_COLOUR = {"within": "#2e8b57", "beyond": "#c0392b", "missing": "#b9770e"}
_PLAIN = "#0b6e99"
_STEPS = 4
_TICKS = 5
_GREY = "#666"


@dataclass(frozen=True, slots=True)
class Known:
    """What was known `at` seconds after the beginning; None: nothing."""

    at: float
    estimate: float | None
    low: float | None
    high: float | None
    state: str


@dataclass(frozen=True, slots=True)
class Begun:
    """A step that began `at` seconds after the beginning, and what it is called."""

    at: float
    name: str


def interval(title: str, margin: float | None, points: Sequence[Known], steps: Sequence[Begun] = ()) -> str:
    """One metric as an SVG group of 860 by 260, from points in the order of time."""
    known = [point for point in points if point.low is not None and point.high is not None]
    # Intervals are wild at the beginning: a quarter of them may run out of the picture, so that the rest is seen.
    lows, highs = sorted(point.low or 0.0 for point in known), sorted(point.high or 0.0 for point in known)
    values = [point.estimate for point in known if point.estimate is not None] + [0.0, margin or 0.0]
    if known:
        values += [lows[len(known) // 4], highs[-1 - len(known) // 4]]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    low, high = low - 0.05 * span, high + 0.05 * span
    last = max((point.at for point in points), default=0.0) or 1.0
    wide, deep = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(at: float) -> float:
        return _LEFT + wide * at / last

    def y(value: float) -> float:
        return _TOP + deep * (high - min(max(value, low), high)) / (high - low)

    out = [f'<text x="{_LEFT}" y="24" font-size="15">{escape(title)}</text>']
    for value in _ticks(low, high):
        out.append(f'<path d="M{_LEFT} {y(value):.1f}H{_LEFT + wide}" stroke="#e4e4e4"/>')
        out.append(f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{100 * value:.3g}%</text>')
    for step in range(_STEPS + 1):
        at = last * step / _STEPS
        out.append(f'<text x="{x(at):.1f}" y="{_HEIGHT - 18}" text-anchor="middle">{_time(at)}</text>')
    if known:
        upper = " ".join(f"{x(point.at):.1f},{y(point.high or 0.0):.1f}" for point in known)
        lower = " ".join(f"{x(point.at):.1f},{y(point.low or 0.0):.1f}" for point in reversed(known))
        out.append(f'<polygon points="{upper} {lower}" fill="{_PLAIN}" fill-opacity="0.18"/>')
        middle = " ".join(f"{x(point.at):.1f},{y(point.estimate):.1f}" for point in known if point.estimate is not None)
        out.append(f'<polyline points="{middle}" fill="none" stroke="{_PLAIN}" stroke-width="2"/>')
    out.append(f'<path d="M{_LEFT} {y(0):.1f}H{_LEFT + wide}" stroke="#888"/>')
    if margin is not None:
        out.append(f'<path d="M{_LEFT} {y(margin):.1f}H{_LEFT + wide}" stroke="#c0392b" stroke-dasharray="6 4"/>')
        out.append(f'<text x="{_LEFT + wide}" y="{y(margin) - 4:.1f}" text-anchor="end" fill="#c0392b">margin</text>')
    for begun in steps:
        if begun.at <= last:
            at = max(0.0, begun.at)  # the first begins before anything is known
            line = f'stroke="{_GREY}" stroke-dasharray="2 3"'
            out.append(f'<path d="M{x(at):.1f} {_TOP}V{_TOP + deep}" {line}/>')
            late = at > 0.9 * last
            anchor = f'text-anchor="{"end" if late else "start"}"'
            place = f'x="{x(at) + (-4 if late else 4):.1f}" y="{_TOP + deep - 5}" {anchor}'
            out.append(f'<text {place} fill="{_GREY}">{escape(begun.name)}</text>')
    before = ""
    for point in points:
        if point.state != before and point.state in _COLOUR:
            colour = _COLOUR[point.state]
            out.append(f'<path d="M{x(point.at):.1f} {_TOP}V{_TOP + deep}" stroke="{colour}" stroke-width="2"/>')
            near = "end" if point.at > last / 2 else "start"
            out.append(
                f'<text x="{x(point.at):.1f}" y="{_TOP - 4}" text-anchor="{near}" fill="{colour}">{point.state}</text>'
            )
        before = point.state
    return "\n".join(out)


def page(title: str, groups: Sequence[str]) -> str:
    """Groups below each other, as one SVG document."""
    height = 40 + _HEIGHT * max(1, len(groups))
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="26" font-size="17">{escape(title)}</text>',
    ]
    for place, group in enumerate(groups):
        out += [f'<g transform="translate(0 {40 + place * _HEIGHT})">', group, "</g>"]
    return "\n".join([*out, "</svg>", ""])


def _ticks(low: float, high: float) -> list[float]:
    """Round values between two others: multiples of 1, 2 or 5 times a power of ten, about five of them."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
