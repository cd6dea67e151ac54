"""Keeps this replica's lexical index like the record, by reading the outbox in order."""

from __future__ import annotations

import asyncio
import logging

from headrace_kit.errors import HeadraceError, NotReady
from headrace_retrieval.indexing.looping import Bell
from headrace_retrieval.ports import Changes, Feed, Lexical

_log = logging.getLogger(__name__)

POLL_S = 0.2
"""How long a change that another replica made may go unseen."""

_RETRY_S = 1.0
_STRETCH = 1000
_DOCUMENTS = 200


class Follower:
    """`Replica`. `run` it as a task of its own; `wake` it when this process has changed something."""

    def __init__(self, feed: Feed, lexical: Lexical) -> None:
        self._feed = feed
        self._lexical = lexical
        self._applied: int | None = None
        self._lost = True
        self._bell = Bell()
        self._moved = asyncio.Condition()

    @property
    def ready(self) -> bool:
        """Whether the first build is done."""
        return self._applied is not None

    @property
    def applied(self) -> int:
        """Id of the last change that searches show."""
        return self._applied or 0

    def wake(self) -> None:
        """Look for changes now instead of at the next poll."""
        self._bell.ring()

    async def caught_up(self) -> None:
        """See the port."""
        head = await self._feed.head()
        self.wake()
        async with self._moved:
            await self._moved.wait_for(lambda: self._applied is not None and self._applied >= head)

    async def run(self) -> None:
        """Build the index, then follow the outbox until cancelled. Goes on by itself after any failure."""
        while True:
            pause = POLL_S
            try:
                if self._lost:
                    await self._build()
                elif await self._follow():
                    continue
            except NotReady:
                pause = _RETRY_S
            except Exception as error:
                pause = _RETRY_S
                _log.error(
                    "the lexical index could not follow the record",
                    exc_info=error if not isinstance(error, HeadraceError) else None,
                )
            await self._bell.rest(pause)

    async def _build(self) -> None:
        # The position is taken first: what changes while passages are read comes again, and that does no harm.
        head = await self._feed.head()
        indexes = await self._feed.indexes()
        for index_id in indexes:
            await self._lexical.load(index_id, self._feed.all_passages(index_id))
        for index_id in self._lexical.loaded() - frozenset(indexes):
            await self._lexical.drop(index_id)
        self._lost = False
        await self._move(head)

    async def _follow(self) -> bool:
        """Apply the next stretch; False when there is none."""
        assert self._applied is not None
        changes = await self._feed.changes(self._applied, _STRETCH)
        if changes.lost:
            _log.warning("changes were removed before this replica read them; building the lexical index again")
            self._lost = True  # the old index goes on serving: it may miss, and never leaks
            return True
        if changes.upto == self._applied:
            return False
        await self._apply(changes)
        await self._move(changes.upto)
        return True

    async def _apply(self, changes: Changes) -> None:
        there = frozenset(await self._feed.indexes())
        for index_id in self._lexical.loaded() - there:
            await self._lexical.drop(index_id)
        for index_id in changes.whole & there:
            await self._lexical.load(index_id, self._feed.all_passages(index_id))
        for index_id, documents in changes.documents.items():
            if index_id in there and index_id not in changes.whole:
                changed = sorted(documents)
                for at in range(0, len(changed), _DOCUMENTS):
                    part = changed[at : at + _DOCUMENTS]
                    passages = await self._feed.passages(index_id, part)
                    await self._lexical.replace(index_id, frozenset(part), passages)

    async def _move(self, upto: int) -> None:
        async with self._moved:
            self._applied = upto
            self._moved.notify_all()
