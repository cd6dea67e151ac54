"""The bounded queue in front of a deployment's engine."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace_kit.errors import Busy, NotReady


class Admission:
    """Lets `slots` requests into the engine at a time; further ones wait, by priority and then by arrival.

    Args:
        name: the deployment, for messages.
        slots: requests in the engine at one time.
        limit: requests in the engine and waiting; more are refused at once.
    """

    def __init__(self, name: str, slots: int, limit: int) -> None:
        self._name = name
        self.slots = slots
        self._limit = limit
        self._order = itertools.count()
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._mean_s = 1.0
        self._idle = asyncio.Event()
        self._idle.set()
        self.running = 0
        self.waiting = 0
        self.draining = False

    def resize(self, slots: int, limit: int) -> None:
        """Take new limits; what runs and waits is not touched."""
        self.slots, self._limit = slots, limit
        self._let_in()

    @asynccontextmanager
    async def slot(self, priority: int = 0) -> AsyncIterator[None]:
        """Hold a place in the engine; leaving gives it back, cancelling while waiting leaves the queue.

        Raises:
            Busy: the queue is full; `retry_after_s` estimates when a place comes free.
            NotReady: the deployment is being unloaded.
        """
        if self.draining:
            raise NotReady(f"deployment {self._name!r} is draining", retry_after_s=1)
        if self.running + self.waiting >= self._limit:
            raise Busy(f"deployment {self._name!r} has {self._limit} requests in work", retry_after_s=self.wait_s())
        self._idle.clear()
        try:
            if self.running < self.slots and not self._waiters:
                self.running += 1
            else:
                await self._wait(priority)
        except BaseException:
            self._settle()
            raise
        started = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self._mean_s += 0.2 * (asyncio.get_running_loop().time() - started - self._mean_s)
            self.running -= 1
            self._let_in()
            self._settle()

    def wait_s(self) -> float:
        """Seconds until a request that comes now would start, by what the last ones took; at least 0.1."""
        return max(0.1, round((self.waiting + 1) / self.slots * self._mean_s, 1))

    async def drained(self) -> None:
        """Return when nothing runs or waits."""
        await self._idle.wait()

    async def _wait(self, priority: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (-priority, next(self._order), turn))
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.running -= 1  # our turn came in the same moment: pass it on
                self._let_in()
            raise
        finally:
            self.waiting -= 1

    def _let_in(self) -> None:
        while self._waiters and self.running < self.slots:
            turn = heapq.heappop(self._waiters)[2]
            if not turn.done():
                self.running += 1
                turn.set_result(None)

    def _settle(self) -> None:
        if self.running == 0 and self.waiting == 0:
            self._idle.set()
