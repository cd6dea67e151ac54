"""Makes each day's profiles when the day is over, and looks whether they drifted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace_tracing.domain.drift import Drift, Limits, Window, judged
from headrace_tracing.domain.profiles import DAY_S
from headrace_tracing.domain.topic_watch import TopicWatch
from headrace_tracing.metrics import Metrics
from headrace_tracing.ports import ProfileStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Watching:
    """What is looked at: `days` together, held against the `reference_days` before them; profiles stay `kept_days`."""

    days: int = 1
    reference_days: int = 7
    kept_days: int = 90
    limits: Limits = field(default_factory=Limits)

    def windows(self, last: int) -> tuple[Window, Window]:
        """The days that end with `last`, and those before them."""
        first = last - self.days + 1
        return Window(first, last), Window(first - self.reference_days, first - 1)


class DriftWatch:
    """Does it. Replicas do the same work and come to the same result.

    Args:
        watching: what holds now.
        topics: learns topics by meaning; None: nobody does.
    """

    def __init__(
        self,
        store: ProfileStore,
        metrics: Metrics,
        watching: Callable[[], Watching],
        topics: TopicWatch | None = None,
        *,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._watching = watching
        self._topics = topics
        self._now_s = now_s
        self._told: set[tuple[str, str, str, str, int]] = set()

    async def look(self) -> Sequence[Drift]:
        """Make the profiles that are missing, and tell what drifted."""
        watching = self._watching()
        today = int(self._now_s()) // DAY_S
        await self._store.drop_profiles_before(today - watching.kept_days)
        for day in await self._store.unprofiled(today):
            # Feedback comes later than answers: a day is counted once more a day after.
            await self._store.make_profiles(day, final=day < today - 1)
        now, before = watching.windows(today - 1)
        found = await self._judged(now, before, watching.limits)
        # After what waits for nobody: a model that embeds slowly delays the topics alone.
        if self._topics is not None and await self._topics.look(now, before):
            found = await self._judged(now, before, watching.limits)
        return found

    async def _judged(self, now: Window, before: Window, limits: Limits) -> Sequence[Drift]:
        found = judged(await self._store.profiles(None, before.first, now.last), now, before, limits)
        self._tell([one for one in found if one.drifted], now.last)
        self._metrics.drift_tests.set(sum(one.p_value is not None for one in found))
        return found

    def _tell(self, drifted: Sequence[Drift], day: int) -> None:
        self._metrics.drifted.clear()
        told = set()
        for one in drifted:
            labels = one.tenant, one.model, one.collection, one.feature
            self._metrics.drifted.labels(*labels).set(one.psi)
            told.add((*labels, day))
            if (*labels, day) not in self._told:
                _log.warning(
                    "%s of model %s has drifted",
                    one.feature,
                    one.model,
                    extra={"tenant": one.tenant, "collection": one.collection, "psi": one.psi, "q_value": one.q_value},
                )
        self._told = told
