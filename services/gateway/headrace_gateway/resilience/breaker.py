"""Whether a deployment may be asked: a circuit breaker over what its attempts came to."""

from __future__ import annotations

from headrace_kit.config.resilience import Breaker

CLOSED, HALF_OPEN, OPEN = 0, 1, 2
_SLOTS = 10
_LONGEST = 8


class Window:
    """Attempts and failures of the latest `length_s` seconds, to a tenth of them."""

    __slots__ = ("_attempts", "_epochs", "_failures")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._epochs = [-1] * _SLOTS
        self._attempts = [0] * _SLOTS
        self._failures = [0] * _SLOTS

    def add(self, failed: bool, now: float, length_s: float) -> None:
        """Count one attempt."""
        epoch = int(now * _SLOTS / length_s)
        place = epoch % _SLOTS
        if self._epochs[place] != epoch:
            self._epochs[place], self._attempts[place], self._failures[place] = epoch, 0, 0
        self._attempts[place] += 1
        self._failures[place] += failed

    def counts(self, now: float, length_s: float) -> tuple[int, int]:
        """(attempts, failures)."""
        oldest = int(now * _SLOTS / length_s) - _SLOTS
        places = [place for place in range(_SLOTS) if self._epochs[place] > oldest]
        return sum(self._attempts[place] for place in places), sum(self._failures[place] for place in places)


class CircuitBreaker:
    """Closed until there are too many failures, then open for a while, then half open: one attempt probes.

    `now` is seconds on any clock that does not run backwards.
    """

    __slots__ = ("_consecutive", "_open_until", "_probes", "_times", "state", "window")

    def __init__(self) -> None:
        self.window = Window()
        self.state = CLOSED
        self._consecutive = 0
        self._open_until = 0.0
        self._probes = 0
        self._times = 0

    def allows(self, now: float) -> bool:
        """Whether an attempt may be made now."""
        if self.state == CLOSED:
            return True
        return now >= self._open_until and not self._probes

    def began(self, now: float) -> bool:
        """An attempt begins. True where it is the probe, whose end must be told with `probe`."""
        if self.state == CLOSED or now < self._open_until or self._probes:
            return False
        self.state = HALF_OPEN
        self._probes = 1
        return True

    def ended(self, policy: Breaker, now: float, *, failed: bool | None, probe: bool) -> str:
        """An attempt has ended; `failed` None tells nothing of the deployment (the caller left, say).

        Returns:
            Why it opened: `consecutive`, `failures` or `probe`; empty where it did not.
        """
        if probe:
            self._probes = 0
        if failed is None:
            return ""
        self.window.add(failed, now, policy.window)
        if probe and self.state == HALF_OPEN:
            if failed:
                self.open(policy, now)
                return "probe"
            self._close(now)
            return ""
        if not failed:
            self._consecutive = 0
            return ""
        self._consecutive += 1
        if self.state != CLOSED:
            return ""
        if self._consecutive >= policy.consecutive_failures:
            self.open(policy, now)
            return "consecutive"
        attempts, failures = self.window.counts(now, policy.window)
        if attempts >= policy.least_attempts and failures * 10_000 >= policy.failure_share * attempts:
            self.open(policy, now)
            return "failures"
        return ""

    def open(self, policy: Breaker, now: float) -> None:
        """Leave the deployment alone; longer each time it opens again within that time after it closed."""
        if self.state == CLOSED and now - self._open_until > _LONGEST * policy.open_for:
            self._times = 0
        self._open_until = now + policy.open_for * min(_LONGEST, 2**self._times)
        self._times = min(self._times + 1, _LONGEST)
        self.state = OPEN
        self._consecutive = 0
        self.window.clear()

    def _close(self, now: float) -> None:
        self.state = CLOSED
        self._open_until = now
        self._consecutive = 0
        self.window.clear()
