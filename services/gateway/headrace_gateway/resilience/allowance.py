"""A token bucket that requests fill: what may be done besides the requests themselves."""

from __future__ import annotations

_BURST_S = 10.0
_MOST = 100.0


class Allowance:
    """How many further attempts may be made now.

    As Finagle's `RetryBudget`: each request puts a share of a token in, time puts in some too, each further attempt
    takes one. It holds at most ten seconds' worth of the constant part and never more than 100 (or 1, if that is more).

    Args:
        now: seconds on any clock that does not run backwards; later calls are on the same one.
        start: tokens at first.
    """

    __slots__ = ("_at", "_tokens")

    def __init__(self, now: float, start: float = 0.0) -> None:
        self._tokens = start
        self._at = now

    def earn(self, share: float) -> None:
        """A request came; `share` of a token is put in."""
        self._tokens = min(_MOST, self._tokens + share)

    def spend(self, now: float, per_second: float = 0.0) -> bool:
        """Take one token; False where there is none."""
        waited, self._at = now - self._at, now
        steady = per_second * _BURST_S
        if self._tokens < steady:
            self._tokens = min(steady, self._tokens + waited * per_second)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
