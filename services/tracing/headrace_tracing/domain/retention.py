"""Traces are deleted when they are old enough."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from headrace_kit.errors import NotReady
from headrace_tracing.metrics import Metrics
from headrace_tracing.ports import TraceStore

_log = logging.getLogger(__name__)
DAY_S = 86_400


class Retention:
    """Deletes what is too old, by whole days: a day is gone when all of it is older than `age_s` says.

    Args:
        age_s: seconds that traces are kept.
        sealed_age_s: seconds that contents are kept as they were sent.
    """

    def __init__(
        self,
        store: TraceStore,
        metrics: Metrics,
        age_s: Callable[[], float],
        sealed_age_s: Callable[[], float],
        *,
        every_s: float = 600,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._age_s = age_s
        self._sealed_age_s = sealed_age_s
        self._every_s = every_s
        self._now_s = now_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to delete now and then."""
        self._task = asyncio.create_task(self._forever())

    async def stop(self) -> None:
        """Stop; a chunk that is not finished is rolled back."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def sweep(self) -> int:
        """Delete everything that is too old; returns how many traces that was."""
        total = 0
        while deleted := await self._store.drop_days_before(
            self._first_kept(self._age_s()), sealed_before=self._first_kept(self._sealed_age_s())
        ):
            total += deleted
            self._metrics.traces_deleted.inc(deleted)
        return total

    def _first_kept(self, age_s: float) -> int:
        return int((self._now_s() - age_s) // DAY_S)

    async def _forever(self) -> None:
        while True:
            try:
                if deleted := await self.sweep():
                    _log.info("old traces deleted", extra={"traces": deleted})
            except NotReady:
                pass  # the writer says so already; the next round finds the same traces
            except Exception:
                _log.exception("old traces could not be deleted")
            await asyncio.sleep(self._every_s)
