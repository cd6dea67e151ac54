"""The nearest valid name to one that somebody mistyped."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the end of an error message, else the valid names, else nothing."""
    choices = sorted(valid)
    if close := get_close_matches(name, choices):
        best = max(close, key=lambda one: one[:1] == name[:1])  # first letters are seldom mistyped
        return f"; did you mean {best!r}?"
    return f"; valid: {', '.join(choices[:12])}" if choices else ""
