"""Erases facts that have expired and conversations that are long over, in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from headrace_kit.errors import HeadraceError, NotReady
from headrace_retrieval.domain.people import Limits
from headrace_retrieval.ports import MemoryStore, Wake

_log = logging.getLogger(__name__)

EVERY_S = 30.0


class Forgetter:
    """Runs until cancelled. Several of them, in several processes, do no harm.

    Args:
        limits: reads how long conversations are kept.
        changed: called when something that was searchable no longer is.
    """

    def __init__(self, store: MemoryStore, limits: Callable[[], Limits], changed: Wake) -> None:
        self._store = store
        self._limits = limits
        self._changed = changed

    async def run(self) -> None:
        """Look again and again. Goes on by itself after any failure."""
        while True:
            try:
                await self.step()
            except NotReady:
                pass  # the database is away; it says so itself
            except Exception as error:
                _log.error(
                    "what has expired could not be erased",
                    exc_info=error if not isinstance(error, HeadraceError) else None,
                )
            await asyncio.sleep(EVERY_S)

    async def step(self) -> None:
        """Erase all that has expired by now."""
        while await self._store.expire(self._limits().conversation_s):
            self._changed()
