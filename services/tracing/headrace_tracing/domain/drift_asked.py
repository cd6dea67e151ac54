"""What may be asked about drift, and by whom."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass

from headrace_kit.errors import BadInput
from headrace_kit.rpc import Identity
from headrace_tracing.domain.drift import Drift, Window, judged
from headrace_tracing.domain.drift_watch import Watching
from headrace_tracing.domain.filters import TraceFilter, checked
from headrace_tracing.domain.profiles import DAY_S, FEATURES
from headrace_tracing.ports import ProfileStore

DEFAULT_LIMIT, MOST = 200, 1000
MOST_DAYS = 400
_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class DriftAsked:
    """Which drift: of what, on which days (`2026-11-28`). Empty and 0: all, and as the config says.

    Attributes:
        day: the last of the days that are looked at; empty: yesterday.
        days: how many days are looked at together.
        reference_from, reference_to: what they are held against, first and last day included; give both or none.
    """

    tenant: str = ""
    model: str = ""
    collection: str = ""
    feature: str = ""
    day: str = ""
    days: int = 0
    reference_from: str = ""
    reference_to: str = ""
    drifted: bool = False
    limit: int = 0


@dataclass(frozen=True, slots=True)
class DriftFound:
    """What was found, in how many tests, and the days that were looked at."""

    found: list[Drift]
    tests: int
    now: Window
    before: Window
    more: bool


class DriftQuestions:
    """Answers from the profiles; a tenant sees its own, the scope `admin` all of them."""

    def __init__(
        self, store: ProfileStore, watching: Callable[[], Watching], now_s: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._watching = watching
        self._now_s = now_s

    async def drift(self, asked: DriftAsked, who: Identity) -> DriftFound:
        """Drift of the days asked for. The share of false alarms is held over all that the caller may see of them.

        Raises:
            BadInput: a field is out of its bounds; `param` names it.
            Forbidden: another tenant, or no tenant at all.
        """
        wanted = checked(TraceFilter(tenant=asked.tenant or None, model=asked.model, collection=asked.collection), who)
        if asked.feature and asked.feature not in FEATURES:
            raise BadInput(f"no feature {asked.feature[:64]!r}; there are {', '.join(FEATURES)}", param="feature")
        if asked.limit > MOST:
            raise BadInput(f"limit is 1 to {MOST}", param="limit")
        now, before = self._windows(asked)
        watching = self._watching()
        profiles = await self._store.profiles(wanted.tenant, min(now.first, before.first), now.last)
        found = judged(profiles, now, before, watching.limits)
        tests = sum(one.p_value is not None for one in found)
        meant = [
            one
            for one in found
            if asked.model in ("", one.model)
            and asked.collection in ("", one.collection)
            and asked.feature in ("", one.feature)
            and (one.drifted or not asked.drifted)
        ]
        limit = asked.limit or DEFAULT_LIMIT
        return DriftFound(meant[:limit], tests, now, before, len(meant) > limit)

    def _windows(self, asked: DriftAsked) -> tuple[Window, Window]:
        watching = self._watching()
        today = int(self._now_s()) // DAY_S
        last = day_of(asked.day, "day") if asked.day else today - 1
        if asked.days > watching.kept_days:
            raise BadInput(f"days is 1 to {watching.kept_days}", param="days")
        days = asked.days or watching.days
        now = Window(last - days + 1, last)
        if bool(asked.reference_from) != bool(asked.reference_to):
            missing = "reference_to" if asked.reference_from else "reference_from"
            raise BadInput("give both ends of the reference, or none", param=missing)
        if not asked.reference_from:
            return now, Window(now.first - watching.reference_days, now.first - 1)
        before = Window(day_of(asked.reference_from, "reference_from"), day_of(asked.reference_to, "reference_to"))
        if not before.first <= before.last < now.first:
            raise BadInput(
                "the reference ends on or after its first day, and before the days that are looked at",
                param="reference_to",
            )
        if now.last - before.first > MOST_DAYS:
            raise BadInput(f"the reference begins at most {MOST_DAYS} days before `day`", param="reference_from")
        return now, before


def day_of(text: str, param: str) -> int:
    """Days from 1970 of a date. Raises BadInput."""
    try:
        found = (dt.date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        found = -1
    if found < 0:
        raise BadInput(f"{param} is a day in UTC, for example 2026-11-28", param=param)
    return found


def date_of(day: int) -> str:
    """A day from 1970 as a date."""
    return (_EPOCH + dt.timedelta(days=day)).isoformat()
