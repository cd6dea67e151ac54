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
        self._tenants: dict[str, int] = {}
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

    def enter_tenant(self, tenant: str, limit: int) -> None:
        """Take one of a tenant's places; `leave_tenant` gives it back. Raises Busy when all are taken."""
        count = self._tenants.get(tenant, 0)
        if count >= limit:
            raise Busy(
                f"your team has {limit} requests in work, its limit; try again when one has ended",
                code="concurrency_limit_exceeded",
                retry_after_s=1,
            )
        self._tenants[tenant] = count + 1

    def leave_tenant(self, tenant: str) -> None:
        """Give a tenant's place back."""
        left = self._tenants[tenant] - 1
        if left:
            self._tenants[tenant] = left
        else:
            del self._tenants[tenant]

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
