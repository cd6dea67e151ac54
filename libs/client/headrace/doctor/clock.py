"""How far two clocks are apart."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from headrace.doctor.findings import Finding, ok, problem, warning

_WARN_S = 5.0
"""The services let each other's tokens be this much off."""
_WRONG_S = 60.0
"""Tokens between services live for a minute at most."""


def skew(check: str, whose: str, date: str | None, now: datetime) -> list[Finding]:
    """Compare a `Date` header, whose resolution is a second, with this machine's clock.

    Args:
        check: its name.
        whose: clock it is, for the text.
        date: the header; None where there was none, which is no finding.
        now: this machine's time, in UTC.
    """
    if date is None:
        return []
    try:
        there = parsedate_to_datetime(date).astimezone(UTC)
    except ValueError:
        return []
    apart = abs((there - now).total_seconds())
    if apart < _WARN_S:
        return [ok(check, f"the clock of {whose} is right")]
    told = f"the clock of {whose} and this machine's are {apart:.0f} s apart"
    advice = "synchronise both by NTP: services refuse tokens of a clock that is a minute off"
    return [problem(check, told, advice) if apart >= _WRONG_S else warning(check, told, advice)]
