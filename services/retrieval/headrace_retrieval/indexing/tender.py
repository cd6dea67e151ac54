"""Tends the graphs of the vector search in the background, so that storing and searching never wait for them."""

from __future__ import annotations

import asyncio
import logging

from headrace_retrieval.indexing.looping import again
from headrace_retrieval.ports import Graphs

_log = logging.getLogger(__name__)

POLL_S = 1.0
_PAUSE_S = 0.002
"""Between two parts of the work, so that searches come through."""

_DROP_EVERY = 60


class Tender:
    """Runs until cancelled; of several, in several processes, one at a time works on an index version."""

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs
        self._seen = -1
        self._rounds = 0

    async def run(self) -> None:
        """Look for changes, and do what they ask for."""
        await again(
            self.step, lambda: asyncio.sleep(POLL_S), _log, "the graphs of the vector search could not be tended"
        )

    async def step(self) -> None:
        """Bring everything that changed since the last time up to date."""
        upto, indexes = await self._graphs.changed(self._seen)
        for index_id in sorted(indexes):
            more = True
            while more:
                more = await self._graphs.tend(index_id)
                await asyncio.sleep(_PAUSE_S)
        self._seen = upto
        if self._rounds % _DROP_EVERY == 0:
            await self._graphs.drop_lost()
        self._rounds += 1
