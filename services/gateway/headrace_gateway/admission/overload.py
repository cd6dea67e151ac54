"""Overload as the event loop feels it: how late it runs what is due.

A loop that is late once has run something long. A loop that is late at every look has a standing queue: every request
that comes in makes all others wait, and refusing it at once is the kinder answer. So, as in CoDel (Nichols and
Jacobson, "Controlling Queue Delay", ACM Queue 2012), what counts is the least delay of a while, not the greatest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from headrace_kit.errors import Busy

_EVERY_S = 0.05
_LOOKS = 10


class LoopLag:
    """Looks twenty times a second how late the loop is; that costs a few microseconds each time.

    Args:
        limit_s: the delay, in seconds, from which on requests are refused, at this moment; 0 refuses none.
        told: hears of the standing delay, in seconds, at each look.
    """

    def __init__(self, limit_s: Callable[[], float], told: Callable[[float], None] = lambda _: None) -> None:
        self._limit_s, self._told = limit_s, told
        self._late: deque[float] = deque([0.0], _LOOKS)
        self._timer: asyncio.TimerHandle | None = None
        self.standing_s = 0.0
        """The least delay of the last half second."""

    def start(self) -> None:
        """Begin to look, on the running loop."""
        loop = asyncio.get_running_loop()
        self._plan(loop, loop.time() + _EVERY_S)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def late(self, seconds: float) -> None:
        """What was due ran so much later."""
        self._late.append(seconds)
        self.standing_s = min(self._late) if len(self._late) == _LOOKS else 0.0
        self._told(self.standing_s)

    def check(self) -> None:
        """Raises Busy while the loop cannot keep up."""
        limit_s = self._limit_s()
        if limit_s and self.standing_s >= limit_s:
            raise Busy(
                "this gateway has more work than it can do; try again shortly", code="overloaded", retry_after_s=1
            )

    def _plan(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        def look() -> None:
            now = loop.time()
            self.late(now - due)
            self._plan(loop, now + _EVERY_S)

        self._timer = loop.call_at(due, look)
