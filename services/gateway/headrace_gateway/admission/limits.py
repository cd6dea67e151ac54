"""How many requests may be inside at once: overall, per tenant, and none while draining."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from headrace_kit.errors import Busy, NotReady

SHUT_DOWN = "shut down"
"""Message of the cancellation of a request that outlasted the drain."""

_LAST_WORDS_S = 2.0


class InFlight:
    """Counts requests between arrival and last byte."""

    def __init__(self) -> None:
        self.total = 0
        self.draining = False
        self._places: dict[str, int] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self, limit: int) -> None:
        """Count a request that arrived. Every `enter` that returned is followed by one `leave`.

        Raises:
            NotReady: the gateway is draining.
            Busy: `limit` requests are inside.
        """
        if self.draining:
            raise NotReady("this gateway is shutting down; try again", code="draining", retry_after_s=1)
        if self.total >= limit:
            raise Busy(f"{limit} requests are being served; try again shortly", code="overloaded", retry_after_s=1)
        self.total += 1
        self._idle.clear()

    def serves(self, task: asyncio.Task[Any]) -> None:
        """A task serves a request from here to its end; when draining takes too long it is cancelled (`SHUT_DOWN`)."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def leave(self) -> None:
        """A request has left."""
        self.total -= 1
        if self.total == 0:
            self._idle.set()

    def take_place(self, whose: str, limit: int, said: str) -> None:
        """Take one of the places of a tenant or key; `give_back` ends that.

        Args:
            whose: whose places they are.
            limit: how many it has.
            said: what the caller reads of it, such as "your team has".

        Raises:
            Busy: all are taken.
        """
        count = self._places.get(whose, 0)
        if count >= limit:
            raise Busy(
                f"{said} {limit} requests in work, its limit; try again when one has ended",
                code="concurrency_limit_exceeded",
                retry_after_s=1,
            )
        self._places[whose] = count + 1

    def give_back(self, whose: str) -> None:
        """Give a place back."""
        left = self._places[whose] - 1
        if left:
            self._places[whose] = left
        else:
            del self._places[whose]

    async def drain(self) -> None:
        """Let nobody in any more; returns when everybody has left.

        Cancelling it ends what is still inside: streams with an error as their last event, the others with 503.
        """
        self.draining = True
        try:
            await self._idle.wait()
        except asyncio.CancelledError:
            for task in list(self._tasks):
                task.cancel(SHUT_DOWN)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), _LAST_WORDS_S)
            raise


def shut_down(error: BaseException) -> BaseException:
    """A cancellation by `drain` as the error that the caller reads; anything else as it is."""
    if isinstance(error, asyncio.CancelledError) and error.args == (SHUT_DOWN,):
        return NotReady("this gateway is shutting down; try again", code="draining", retry_after_s=1)
    return error
