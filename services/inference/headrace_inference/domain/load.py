"""How busy a deployment is, measured from what it streams."""

from __future__ import annotations

from collections import deque

WINDOW_S = 10.0


class LoadMeter:
    """Output tokens per second over the last `WINDOW_S`, and a weighted mean of the time to the first token.

    Times are seconds on one clock that the caller chooses.
    """

    def __init__(self) -> None:
        self._tokens: deque[tuple[float, int]] = deque()
        self._sum = 0
        self.first_token_ms = 0.0

    def tokens(self, now: float, count: int) -> None:
        """`count` tokens were sent."""
        if count:
            self._tokens.append((now, count))
            self._sum += count
            self._forget(now)

    def first_token(self, seconds: float) -> None:
        """A request's first token took this long, waiting included."""
        weight = 0.2 if self.first_token_ms else 1.0
        self.first_token_ms += weight * (seconds * 1000 - self.first_token_ms)

    def tokens_per_second(self, now: float) -> float:
        """Mean over the window."""
        self._forget(now)
        return self._sum / WINDOW_S

    def _forget(self, now: float) -> None:
        while self._tokens and now - self._tokens[0][0] > WINDOW_S:
            self._sum -= self._tokens.popleft()[1]
