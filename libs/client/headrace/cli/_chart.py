"""Bars as an SVG: one bar a place on the axis, in layers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_COLOURS = ("#0b6e99", "#e08e0b", "#2e8b57", "#8e44ad", "#c0392b", "#5d6d7e", "#b9770e", "#16a085")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 860, 420, 80, 200, 46, 70
_STEPS = 4


def bars(title: str, unit: str, places: Sequence[str], layers: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A chart as an SVG document.

    Args:
        title: above it.
        unit: of the values, for example `US dollars`.
        places: labels of the bars, in order.
        layers: name and one value a place, from the bottom up; none below 0.
    """
    totals = [sum(values[place] for _, values in layers) for place in range(len(places))]
    most = max(totals, default=0) or 1.0
    deep, wide = _HEIGHT - _TOP - _BOTTOM, _WIDTH - _LEFT - _RIGHT
    slot = wide / max(1, len(places))
    every = -(-len(places) // 12)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="26" font-size="15">{escape(title)}, {escape(unit)}</text>',
    ]
    for step in range(_STEPS + 1):
        y = _TOP + deep - deep * step / _STEPS
        out.append(f'<path d="M{_LEFT} {y:.1f}H{_LEFT + wide}" stroke="#e4e4e4"/>')
        out.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{most * step / _STEPS:.4g}</text>')
    for place, label in enumerate(places):
        x, y = _LEFT + slot * (place + 0.15), float(_TOP + deep)
        for number, (name, values) in enumerate(layers):
            high = deep * values[place] / most
            y -= high
            if high:
                told = escape(f"{label} {name}: {values[place]:.6g}")
                out.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{slot * 0.7:.1f}" height="{high:.1f}" '
                    f'fill="{_COLOURS[number % len(_COLOURS)]}"><title>{told}</title></rect>'
                )
        if place % every == 0:
            middle = x + slot * 0.35
            turn = f'transform="rotate(-30 {middle:.1f} {_TOP + deep + 18})"'
            out.append(f'<text x="{middle:.1f}" y="{_TOP + deep + 18}" text-anchor="end" {turn}>{escape(label)}</text>')
    for number, (name, _) in enumerate(layers):
        y, x = _TOP + 18 * number, _LEFT + wide + 16
        out.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{_COLOURS[number % len(_COLOURS)]}"/>')
        out.append(f'<text x="{x + 18}" y="{y + 10}">{escape(name[:28])}</text>')
    return "\n".join([*out, "</svg>", ""])
