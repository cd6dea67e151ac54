"""Loops of the background work: again and again until cancelled, whatever fails in between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from headrace_kit.errors import HeadraceError, NotReady


class Bell:
    """Ends a rest early."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """There is work: the rest that is taken now, or the next one, ends at once."""
        self._rung.set()

    async def rest(self, seconds: float) -> None:
        """Wait so long, or until it rings."""
        # Not `wait_for`, which in Python 3.11 can swallow a cancellation.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()


async def again(
    step: Callable[[], Awaitable[bool | None]],
    rest: Callable[[], Awaitable[None]],
    log: logging.Logger,
    failing: str,
) -> None:
    """Do a step after the other until cancelled; goes on by itself after any failure.

    Args:
        step: one step; True: there is more to do, and no rest before the next one.
        rest: waits between steps.
        log: told of failures, but not that the database is away: it says so itself.
        failing: what it is told then; an error on our side comes with its trace.
    """
    while True:
        busy = False
        try:
            busy = bool(await step())
        except NotReady:
            pass
        except Exception as error:
            log.error(failing, exc_info=error if not isinstance(error, HeadraceError) else None)
        if not busy:
            await rest()
