"""The latest times to a deployment's first token."""

from __future__ import annotations

from collections import deque

_KEPT = 128
_LEAST = 20
_EVERY = 16
_FRESH_S = 60.0


class FirstTokens:
    """The latest 128 of them, in seconds."""

    __slots__ = ("_p95", "_seen", "_times")

    def __init__(self) -> None:
        self._times: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._seen = 0
        self._p95: float | None = None

    def add(self, seconds: float, now: float) -> None:
        """One more, which came at `now`."""
        self._times.append((now, seconds))
        self._seen += 1

    def clear(self) -> None:
        """Forget them: the deployment has been left alone since."""
        self._times.clear()
        self._seen, self._p95 = 0, None

    def p95(self) -> float | None:
        """95% of them came sooner; None before there are 20. Counted anew after every 16."""
        if len(self._times) >= _LEAST and (self._p95 is None or self._seen >= _EVERY):
            ordered = sorted(seconds for _, seconds in self._times)
            self._p95, self._seen = ordered[len(ordered) * 95 // 100], 0
        return self._p95

    def fresh(self, now: float) -> list[float]:
        """Those of the last minute."""
        return [seconds for at, seconds in self._times if at > now - _FRESH_S]
