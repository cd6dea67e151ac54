"""Work that belongs to a rollout, done in one replica at a time, and on from where it was when that one dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from headrace_evals.ports import Away
from headrace_evals.suite import SuiteInvalid
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError, NotReady
from headrace_rollout.domain.records import Record
from headrace_rollout.ports import EvaluationStore

_log = logging.getLogger(__name__)
LEASE_S, AGAIN_S = 15.0, 5.0

Place = tuple[str, int]
"""A rollout, and a step of it."""


class Lost(Exception):
    """Another replica does this by now, or it is over."""


class Leased(ABC):
    """Keeps a task for each piece of work that running rollouts ask for.

    Any number of replicas may try: who holds its lease does it. Items that are done are stored, so whoever takes over
    does only the others. What came out is stored once, and the controller's next look goes on by it.

    Args:
        store: what is kept.
        owner: names this process.
        wake: tells the controller that there is something to look at.
        lease_s: after so long without a renewal another replica takes over.
        again_s: seconds until what was in the way is tried again.
    """

    def __init__(
        self,
        store: EvaluationStore,
        owner: str,
        wake: Callable[[], None],
        lease_s: float = LEASE_S,
        again_s: float = AGAIN_S,
    ) -> None:
        self._store, self._owner, self._wake = store, owner, wake
        self._lease_s, self._again_s = lease_s, again_s
        self._tasks: dict[Place, asyncio.Task[None]] = {}

    @abstractmethod
    def _wanted(self, records: Iterable[Record]) -> Mapping[Place, tuple[Record, str]]:
        """What is to be done now: for which rollout, and the name of the work."""

    @abstractmethod
    async def _once(self, record: Record, name: str) -> bool:
        """Do what is left of it; false when that is another replica's."""

    def follow(self, records: Iterable[Record]) -> None:
        """Do what these rollouts ask for, and nothing else. Returns at once."""
        wanted = self._wanted(records)
        for place, task in list(self._tasks.items()):
            if place not in wanted:
                task.cancel()
                del self._tasks[place]
        for place, (record, name) in wanted.items():
            if place not in self._tasks:
                self._tasks[place] = asyncio.create_task(self._until_done(place, record, name))

    async def stop(self) -> None:
        """Do nothing any more; what is done is kept."""
        tasks, self._tasks = list(self._tasks.values()), {}
        await end(*tasks)

    async def _until_done(self, place: Place, record: Record, name: str) -> None:
        while True:
            why = ""
            try:
                if await self._once(record, name):
                    self._wake()
                    return
            except (SuiteInvalid, Away) as error:
                why = str(error)
            except Lost:
                pass
            except NotReady:
                _log.warning("the database is away: %s waits", name, extra={"rollout_id": record.id})
            except Exception:
                _log.exception("%s failed", name, extra={"rollout_id": record.id})
                why = "it failed for a reason that is in the log"
            if why:
                with contextlib.suppress(HeadraceError):
                    await self._store.hindered(*place, name, self._owner, why)
            await asyncio.sleep(self._again_s)

    @contextlib.asynccontextmanager
    async def _renewing(self, place: Place) -> AsyncIterator[None]:
        """Hold the lease for as long as the block runs; it is cut off when the lease is lost."""
        running = asyncio.current_task()
        assert running is not None
        cancels = 0

        async def renew() -> None:
            nonlocal cancels
            holds = True
            while holds:
                await asyncio.sleep(self._lease_s / 3)
                with contextlib.suppress(NotReady):
                    holds = await self._store.renew(*place, self._owner, self._lease_s)
            while True:  # one cancellation may be lost, see `headrace_kit.ending`
                cancels += 1
                running.cancel()
                await asyncio.sleep(self._again_s)

        renewal = asyncio.create_task(renew())
        try:
            try:
                yield
            finally:
                await end(renewal)
        except asyncio.CancelledError:
            others = running.cancelling()
            for _ in range(cancels):
                others = running.uncancel()
            if cancels and not others:
                raise Lost from None
            raise
