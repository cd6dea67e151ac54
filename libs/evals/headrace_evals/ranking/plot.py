"""Means with their intervals as an SVG: a row a stage of each run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from headrace_evals.ranking.measures import Mean

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 860, 240, 60, 60, 34
_COLOUR = "#0b6e99"
_STEPS = 5


def intervals(title: str, rows: Sequence[tuple[str, Mean]]) -> str:
    """An SVG document with a dot at each mean and a line along its interval; the axis is from 0 to 1."""
    wide, height = _WIDTH - _LEFT - _RIGHT, _TOP + _ROW * len(rows) + 40
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="26" font-size="15">{escape(title)}</text>',
    ]
    for step in range(_STEPS + 1):
        x = _LEFT + wide * step / _STEPS
        out.append(f'<path d="M{x:.1f} {_TOP - 14}V{height - 34}" stroke="#e4e4e4"/>')
        out.append(f'<text x="{x:.1f}" y="{height - 16}" text-anchor="middle">{step / _STEPS:.1f}</text>')
    for place, (name, found) in enumerate(rows):
        y = _TOP + _ROW * place + 4
        low, middle, high = (_LEFT + wide * value for value in (found.low, found.value, found.high))
        told = escape(f"{name}: {found.value:.4f} ({found.low:.4f} to {found.high:.4f})")
        out.append(f'<text x="{_LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(name[:36])}</text>')
        out.append(f'<path d="M{low:.1f} {y}H{high:.1f}" stroke="{_COLOUR}" stroke-width="3" stroke-opacity="0.5"/>')
        out.append(f'<circle cx="{middle:.1f}" cy="{y}" r="5" fill="{_COLOUR}"><title>{told}</title></circle>')
        out.append(f'<text x="{high + 10:.1f}" y="{y + 4}">{found.value:.3f}</text>')
    return "\n".join([*out, "</svg>", ""])
