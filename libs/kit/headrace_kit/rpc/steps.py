"""A deadline over the steps of an async generator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Self


class Steps:
    """Takes a generator's items with one timer for all of them, where `asyncio.timeout` around each would set one each.

    Only waiting for an item can time out, never whoever consumes it. Use it as a context manager.

    Args:
        items: the generator; it is not closed here.
        within_s: seconds from now for all steps together; None for no limit.
    """

    def __init__(self, items: AsyncGenerator[Any, None], within_s: float | None) -> None:
        self._items = items
        self._within_s = within_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self._over = False

    def __enter__(self) -> Self:
        if self._within_s is not None:
            self._timer = self._loop.call_later(self._within_s, self._expire)
        return self

    def __exit__(self, *error: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def next(self) -> Any:
        """The next item.

        Raises:
            StopAsyncIteration: there is none.
            TimeoutError: the time is over.
        """
        if self._over:
            raise TimeoutError
        task = asyncio.current_task(self._loop)
        assert task is not None
        before = task.cancelling()
        self._waiting = task
        try:
            return await anext(self._items)
        except asyncio.CancelledError as error:
            if self._over and task.cancelling() - 1 <= before:
                raise TimeoutError from error
            raise
        finally:
            self._waiting = None
            if self._over:
                task.uncancel()

    def _expire(self) -> None:
        self._over = True
        if self._waiting is not None:
            self._waiting.cancel()
