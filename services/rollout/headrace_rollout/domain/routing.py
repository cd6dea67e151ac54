"""Releases of our own services: weights of routes, and whether there is anybody to send requests to.

Where callers share requests out by themselves there are pods and no routes: the weight that is granted is in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from headrace_kit.config.services import Pods, Routes
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError
from headrace_rollout.domain.candidates import Readiness
from headrace_rollout.domain.records import Record, State
from headrace_rollout.ports import Routes as Port
from headrace_rollout.ports import Seen

_log = logging.getLogger(__name__)
Settings = Routes | Pods
LOOK_S, IDLE_S = 1.0, 10.0
FRESH_S = 5.0
"""Truth that is older moves no weight: somebody else may know better."""
GONE_S = 10.0
"""A candidate without a ready pod for so long is broken."""
RESTARTS = 2
"""So is one whose containers were started again so often since its rollout runs."""


@dataclass(slots=True)
class _Known:
    """What is known of a service's routes; `weight_since` and `gone_since` are on the clock."""

    seen: Seen | None = None
    away: str = "they were not looked at yet"
    weight_since: float = 0.0
    gone_since: float | None = None


@dataclass(slots=True)
class _Started:
    """A rollout as it was when it began to run, or to wait."""

    restarts: int
    at: float


class Routing:
    """Keeps the weights of routes at what the rollouts of services say, and tells what is in force.

    Every replica looks, and whoever sees a weight that is not what the store says now sets it: that is harmless to
    repeat. Where the store or the API server is away, weights stay as they are.

    Args:
        api: the routes and pods.
        settings: of each service that has routes, or a candidate with pods.
        wake: tells the controller that there is something to look at.
        clock: seconds, never running backwards.
    """

    def __init__(
        self,
        api: Port,
        settings: Mapping[str, Settings],
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._settings, self._wake, self._clock = api, settings, wake, clock
        self._known = {service: _Known() for service in settings}
        self._records: dict[str, Record] = {}
        self._told_at = clock() - FRESH_S - 1
        self._started: dict[str, _Started] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._forever())

    def take(self, settings: Mapping[str, Settings]) -> None:
        """Go on with the routes of a new config."""
        self._settings = settings
        self._known = {service: self._known.get(service) or _Known() for service in settings}
        self._changed.set()

    async def stop(self) -> None:
        """Look no more; weights stay as they are."""
        await end(self._task)
        await self._api.close()

    def follow(self, standing: Iterable[Record]) -> None:
        """What stands, as the store has it now."""
        before = {service: record.weight for service, record in self._records.items()}
        self._records = {
            record.service: record for record in standing if record.service and record.state is not State.QUEUED
        }
        self._told_at = self._clock()
        ids = {record.id for record in self._records.values()}
        self._started = {id_: started for id_, started in self._started.items() if id_ in ids}
        if before != {service: record.weight for service, record in self._records.items()}:
            self._changed.set()

    def weight(self, record: Record) -> int:
        """The candidate's share of requests that outcomes of now are judged by, in 1/10000; 0: not known for sure."""
        if record.service is None:
            return record.weight
        settings, known = self._settings.get(record.service), self._known.get(record.service)
        if settings is None or known is None:
            return 0
        if isinstance(settings, Pods):
            # Where the pods cannot be seen, whoever finds none asks the stable release.
            return record.weight if known.seen is None or known.seen.ready else 0
        if known.seen is None or self._unserved(record, known):
            return 0
        return known.seen.weight or 0

    def ready_or(self, ready: Callable[[Record], Readiness]) -> Callable[[Record], Readiness]:
        """Whether a candidate can be served: of services by their pods, of models as `ready` says."""
        return lambda record: self._ready(record) if record.service else ready(record)

    def findings(self, standing: Iterable[Record]) -> dict[str, tuple[str, str]]:
        """Why a running rollout of a service goes back whatever its metrics say, and why its weight is not in force."""
        found = {}
        for record in standing:
            if record.service is None or record.state is not State.RUNNING:
                continue
            known = self._known.get(record.service, _Known(away=_unnamed(record.service)))
            found[record.id] = (self._broken(record, known), self._unserved(record, known))
        return found

    async def look(self) -> None:
        """Look at all routes once, and set what is not as it should be."""
        for service, settings in list(self._settings.items()):
            known = self._known.get(service)
            if known is None:  # a newer config does not name it
                continue
            before = (known.away, known.seen)
            try:
                seen = await self._api.look(settings)
                self._note(known, seen)
                wanted = self._wanted(service, seen)
                sets = isinstance(settings, Routes) and settings.set_weights
                if sets and wanted is not None and seen.weight != wanted:
                    await self._api.set_weight(settings, wanted)
                    _log.info("the weight of %s is %g%% now", settings.canary, wanted / 100)
                    self._note(known, replace(seen, weight=wanted))
            except HeadraceError as error:
                if known.away != error.message:
                    _log.warning("%s of %s: %s", _what(settings), service, error.message)
                known.seen, known.away = None, error.message
            if before != (known.away, known.seen):
                self._wake()

    def _note(self, known: _Known, seen: Seen) -> None:
        now = self._clock()
        if known.seen is None or known.seen.weight != seen.weight:
            known.weight_since = now
        if seen.ready:
            known.gone_since = None
        elif known.gone_since is None:
            known.gone_since = now
        known.seen, known.away = seen, ""

    def _wanted(self, service: str, seen: Seen) -> int | None:
        """What the weight should be; None: nobody knows for sure just now."""
        if self._clock() - self._told_at > FRESH_S:
            return None
        record = self._records.get(service)
        # Proxies answer with errors for a backend without pods.
        return record.weight if record is not None and seen.ready else 0

    def _unserved(self, record: Record, known: _Known) -> str:
        settings = self._settings.get(record.service or "")
        if settings is None or known.seen is None:
            return f"its {_what(settings)} cannot be read: {known.away}"
        if isinstance(settings, Pods):
            return "" if known.seen.ready else _unready(settings, known.seen)
        if known.seen.weight is None:
            return "its routes have different weights"
        if settings.set_weights and known.seen.weight != record.weight:
            return f"its routes do not have its weight yet, but {known.seen.weight / 100:g}%"
        left = known.weight_since + settings.settle - self._clock()
        return "its weight was set just now, and proxies may not all have it" if left > 0 else ""

    def _ready(self, record: Record) -> Readiness:
        settings, known = self._settings.get(record.service or ""), self._known.get(record.service or "")
        if settings is None or known is None:
            return Readiness(False, _unnamed(record.service or ""))
        if known.seen is None:
            return Readiness(False, f"its {_what(settings)} cannot be read: {known.away}")
        began = self._started.setdefault(record.id, _Started(known.seen.restarts, self._clock()))
        if known.seen.ready:
            return Readiness(True)
        why = _unready(settings, known.seen)
        if self._clock() - began.at > settings.ready_within:
            return Readiness(False, failed=f"{why}; that was so for {settings.ready_within:g} s")
        return Readiness(False, why)

    def _broken(self, record: Record, known: _Known) -> str:
        if known.seen is None:
            return ""
        began = self._started.setdefault(record.id, _Started(known.seen.restarts, self._clock()))
        began.restarts = min(began.restarts, known.seen.restarts)  # pods that are gone are counted no more
        more = known.seen.restarts - began.restarts
        why = f" ({known.seen.why})" if known.seen.why else ""
        if more >= RESTARTS:
            return f"its pods were started again {more} times{why}"
        if known.gone_since is not None and self._clock() - known.gone_since > GONE_S:
            return f"no pod of it has been ready for {GONE_S:g} s{why}"
        return ""

    async def _forever(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self.look()
            except Exception:
                _log.exception("a look at the routes failed; weights stay as they are")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if self._records else IDLE_S):
                    await self._changed.wait()


def _what(settings: Settings | None) -> str:
    return "pods" if isinstance(settings, Pods) else "routes"


def _unnamed(service: str) -> str:
    return f"services.rollout.{'pods' if service == 'guardrails' else 'routes'} does not name it"


def _unready(settings: Settings, seen: Seen) -> str:
    return f"no pod of {settings.canary or 'the candidate'} is ready" + (f": {seen.why}" if seen.why else "")
