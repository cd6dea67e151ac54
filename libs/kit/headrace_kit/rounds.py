"""Work that is done now and then, beside everything else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from headrace_kit.ending import end
from headrace_kit.errors import NotReady

_log = logging.getLogger(__name__)


class Rounds:
    """A task that works, rests and works again, until it is stopped; what fails is tried again in the next round.

    Args:
        work: one round. Raises NotReady while its store is away, which others tell of.
        every_s: seconds of rest after a round.
        failing: what the log says of any other failure.
    """

    def __init__(self, work: Callable[[], Awaitable[object]], every_s: float, failing: str) -> None:
        self._work, self._every_s, self._failing = work, every_s, failing
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with a round at once."""
        self._task = asyncio.create_task(self._forever())

    async def stop(self) -> None:
        """End; a round that is under way is cut off."""
        await end(self._task)

    async def _forever(self) -> None:
        while True:
            try:
                await self._work()
            except NotReady:
                pass
            except Exception:
                _log.exception(self._failing)
            await asyncio.sleep(self._every_s)
