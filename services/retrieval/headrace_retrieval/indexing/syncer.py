"""Synchronises sources in the background: when they are due by the config, and when somebody asked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping

from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError, NotReady
from headrace_retrieval.domain.model import Collection
from headrace_retrieval.domain.sources import SourceError, SyncTask, Wanted
from headrace_retrieval.domain.sync import Sync
from headrace_retrieval.indexing.looping import Bell, again
from headrace_retrieval.ports import SourceStore

_log = logging.getLogger(__name__)

POLL_S = 2.0


class Syncer:
    """Runs until cancelled; of several, in several processes, one works on a source at a time.

    Args:
        configured: the sources that the config names for a collection.
        scheduled: tenant, collection, source and seconds between synchronisations, of all that have a time.
    """

    def __init__(
        self,
        store: SourceStore,
        sync: Sync,
        configured: Callable[[Collection], Mapping[str, Wanted]],
        scheduled: Callable[[], Iterable[tuple[str, str, str, float]]],
    ) -> None:
        self._store = store
        self._sync = sync
        self._configured = configured
        self._scheduled = scheduled
        self._bell = Bell()

    def wake(self) -> None:
        """Look for work now instead of at the next poll."""
        self._bell.ring()

    async def run(self) -> None:
        """Work until cancelled."""
        await again(self.step, lambda: self._bell.rest(POLL_S), _log, "sources could not be synchronised")

    async def step(self) -> bool:
        """Plan what is due, and do one synchronisation; False when there was none to do."""
        for tenant, collection, source, every_s in self._scheduled():
            await self._store.plan(tenant, collection, source, every_s)
        task = await self._store.claim()
        if task is None:
            return False
        wanted = self._configured(task.collection).get(task.source)
        if wanted is None:
            await self._store.finish(task, "the config does not name this source any more")
            return True
        renewing = asyncio.create_task(self._renew(task))
        try:
            await self._sync.run(task, wanted)
            await self._store.finish(task)
        except SourceError as error:
            await self._store.finish(task, str(error))
        except NotReady:
            raise  # its lease ends, and it is taken up again
        except HeadraceError as error:
            await self._store.finish(task, error.message)
        except asyncio.CancelledError:
            with contextlib.suppress(HeadraceError):
                await self._store.put_back(task)
            raise
        except Exception as error:
            _log.error("a source could not be synchronised", exc_info=error)
            await self._store.finish(task, "it failed because of an error on our side")
        finally:
            await end(renewing)
        return True

    async def _renew(self, task: SyncTask) -> None:
        while True:
            await asyncio.sleep(self._store.lease_s / 4)
            with contextlib.suppress(HeadraceError):
                await self._store.renew(task)
