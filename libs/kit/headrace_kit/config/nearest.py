"""The nearest valid name to one that somebody mistyped."""

from __future__ import annotations

from collections.abc import Iterable

from rapidfuzz import process


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the end of an error message, else the valid names, else nothing."""
    choices = sorted(valid)
    best = process.extractOne(name, choices, score_cutoff=60)
    if best:
        return f"; did you mean {best[0]!r}?"
    return f"; valid: {', '.join(choices[:12])}" if choices else ""
