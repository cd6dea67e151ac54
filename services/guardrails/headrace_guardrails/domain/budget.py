"""How many judgements a minute a check may make."""

from __future__ import annotations

import time
from collections.abc import Callable


class BudgetSpent(Exception):
    """This minute's judgements were made already."""


class Budget:
    """A bucket that refills all the time and holds one minute's worth.

    Args:
        per_minute: judgements a minute; 0 allows none.
        clock: seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._left = float(per_minute)
        self._clock = clock
        self._at = clock()

    def spend(self) -> None:
        """Take one. Raises BudgetSpent."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._most / 60)
        self._at = now
        if self._left < 1:
            raise BudgetSpent
        self._left -= 1
