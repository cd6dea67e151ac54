"""Erases facts that have expired and conversations that are long over, in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from headrace_retrieval.domain.people import Limits
from headrace_retrieval.indexing.looping import again
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
        """Look again and again."""
        await again(self.step, lambda: asyncio.sleep(EVERY_S), _log, "what has expired could not be erased")

    async def step(self) -> None:
        """Erase all that has expired by now."""
        while await self._store.expire(self._limits().conversation_s):
            self._changed()
