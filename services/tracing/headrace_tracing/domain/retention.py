"""Traces are deleted when they are old enough."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

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
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._age_s = age_s
        self._sealed_age_s = sealed_age_s
        self._now_s = now_s

    async def sweep(self) -> int:
        """Delete everything that is too old; returns how many traces that was."""
        total = 0
        while deleted := await self._store.drop_days_before(
            self._first_kept(self._age_s()), sealed_before=self._first_kept(self._sealed_age_s())
        ):
            total += deleted
            self._metrics.traces_deleted.inc(deleted)
        if total:
            _log.info("old traces deleted", extra={"traces": total})
        return total

    def _first_kept(self, age_s: float) -> int:
        return int((self._now_s() - age_s) // DAY_S)
