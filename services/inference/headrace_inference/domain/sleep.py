"""Deployments whose server may be stopped while nobody needs it: who wants them, and how long starting takes."""

from __future__ import annotations

import time
from collections.abc import Callable

WANTED_S = 60.0
"""Since its last request a deployment is wanted for so long: what starts servers looks only now and then."""


class Sleep:
    """Times of one deployment's server, on the clock.

    Args:
        within_s: longest that it may take to start, as the config says; None: it is never stopped.
        clock: seconds, never running backwards.
    """

    def __init__(self, within_s: Callable[[], float | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._within_s, self._clock = within_s, clock
        self._arrived: float | None = None
        self._waking_since: float | None = None
        self._took_s: float | None = None
        self.asleep = False
        """Whether it is stopped, or starts."""

    @property
    def wanted(self) -> bool:
        """Whether somebody asked for it within a minute, or waits for it."""
        recent = self._arrived is not None and self._clock() - self._arrived < WANTED_S
        return recent or self._waking_since is not None

    def arrived(self) -> None:
        """A request came, whatever becomes of it."""
        self._arrived = self._clock()
        if self.asleep and self._waking_since is None:
            self._waking_since = self._arrived

    def doze(self) -> bool:
        """Its server is gone. False where it may not be."""
        if self._within_s() is None:
            return False
        if not self.asleep:
            self.asleep, self._waking_since = True, None
        return True

    def wake(self) -> None:
        """Its server serves."""
        if self._waking_since is not None:
            self._took_s = self._clock() - self._waking_since
        self.asleep, self._waking_since = False, None

    def left_s(self) -> float:
        """Seconds until it serves, by what the last start took; 0 where none is known, or it takes longer this time."""
        if self._took_s is None:
            return 0.0
        passed = 0.0 if self._waking_since is None else self._clock() - self._waking_since
        return max(0.0, self._took_s - passed)

    def overslept(self) -> bool:
        """Whether somebody wakes it in vain: it should serve by now. The next request begins to wait anew."""
        within_s = self._within_s()
        if not self.asleep or self._waking_since is None or within_s is None:
            return False
        if self._clock() - self._waking_since < within_s:
            return False
        self._waking_since = None
        return True
