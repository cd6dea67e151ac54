"""What one check found."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

State = Literal["ok", "warning", "problem", "unknown"]
"""`unknown`: it could not be looked at; the text says why."""


class Finding(Struct, frozen=True):
    """The outcome of a check.

    Attributes:
        check: what was looked at, for example `pods`.
        state: how it is.
        what: what was seen, one line.
        advice: what to do about it; empty where nothing needs to be done.
    """

    check: str
    state: State
    what: str
    advice: str = ""


def ok(check: str, what: str) -> Finding:
    """As it should be."""
    return Finding(check, "ok", what)


def warning(check: str, what: str, advice: str) -> Finding:
    """It works, and may not tomorrow."""
    return Finding(check, "warning", what, advice)


def problem(check: str, what: str, advice: str) -> Finding:
    """Something does not work because of it."""
    return Finding(check, "problem", what, advice)


def unknown(check: str, what: str, advice: str = "") -> Finding:
    """It could not be looked at."""
    return Finding(check, "unknown", what, advice)
