"""How busy a deployment is, measured from what it streams."""

from __future__ import annotations

WINDOW_S = 10
_WEIGHT = 0.2
_KEEP = 0.95


class LoadMeter:
    """Output tokens per second over the last `WINDOW_S`, and weighted means over the last requests.

    Times are seconds on one clock that the caller chooses.
    """

    def __init__(self) -> None:
        self._buckets = [0] * WINDOW_S
        self._second = 0
        self._prompt = self._cached = 0.0
        self.first_token_ms = 0.0
        """Arrival to first token, waiting included."""
        self.output_token_ms = 0.0
        """Time per output token after the first."""

    @property
    def prefix_hit_share(self) -> float:
        """Share of prompt tokens that were read from a prefix cache."""
        return self._cached / self._prompt if self._prompt else 0.0

    def tokens(self, now: float, count: int) -> None:
        """`count` tokens were sent."""
        second = int(now)
        if second != self._second:
            self._move_to(second)
        self._buckets[second % WINDOW_S] += count

    def first_token(self, seconds: float) -> None:
        """A request's first token took this long, waiting included."""
        weight = _WEIGHT if self.first_token_ms else 1.0
        self.first_token_ms += weight * (seconds * 1000 - self.first_token_ms)

    def output_token(self, seconds: float) -> None:
        """A request's tokens after the first took this long each."""
        weight = _WEIGHT if self.output_token_ms else 1.0
        self.output_token_ms += weight * (seconds * 1000 - self.output_token_ms)

    def prompt(self, tokens: int, cached: int) -> None:
        """A request had a prompt of `tokens`, of which `cached` came from a prefix cache."""
        self._prompt = self._prompt * _KEEP + tokens
        self._cached = self._cached * _KEEP + cached

    def tokens_per_second(self, now: float) -> float:
        """Mean over the window."""
        self._move_to(int(now))
        return sum(self._buckets) / WINDOW_S

    def _move_to(self, second: int) -> None:
        passed = second - self._second
        if passed >= WINDOW_S:
            self._buckets = [0] * WINDOW_S
        else:
            for number in range(passed):
                self._buckets[(self._second + 1 + number) % WINDOW_S] = 0
        self._second = max(self._second, second)
