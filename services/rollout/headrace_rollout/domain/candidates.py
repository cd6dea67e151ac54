"""Candidates are made ready before their first step, and unloaded when their rollout is over and nobody needs them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError, NotReady
from headrace_rollout.domain.desired import Desired
from headrace_rollout.domain.records import Record, State
from headrace_rollout.ports import Models

_log = logging.getLogger(__name__)
READY = "ready"
_BUSY = ("", "loading", "warming", "draining")
"""States that will be others by themselves; the first: inference does not know it yet."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a candidate can be served: `ready`, or what it waits for (empty: not known yet), or why it never will."""

    ready: bool
    waits: str = ""
    failed: str = ""


AT_ONCE = Readiness(True)


def at_once(record: Record) -> Readiness:
    """Of a service that controls no models."""
    return AT_ONCE


class Candidates:
    """Has inference load what candidates need, in the background; only the leader asks it to.

    It remembers nothing that matters: what is loaded is inference's to know, and what is still to be unloaded is the
    store's.

    Args:
        models: inference.
        desired: the config.
        wake: tells the controller that there is something to look at.
        lease_s: so long after a rollout's end a gateway may still send to its candidate.
        again_s: seconds until inference is asked again.
    """

    def __init__(
        self,
        models: Models,
        desired: Callable[[], Desired],
        wake: Callable[[], None],
        lease_s: Callable[[], float],
        again_s: float = 1.0,
    ) -> None:
        self._models, self._desired, self._wake = models, desired, wake
        self._lease_s, self._again_s = lease_s, again_s
        self._known: dict[str, Readiness] = {}
        self._standing: dict[str, Record] = {}
        """What needs its candidate: known before it is asked whether that is ready."""
        self._unloading = asyncio.Lock()
        """Nothing is called ready that is just being unloaded."""
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._cold: set[str] = set()

    def ready(self, record: Record) -> Readiness:
        """What is known of the candidate of a rollout that is about to start; asks for it to be made ready."""
        self._standing[record.id] = record
        known = self._known.get(record.id)
        if known is None and not self._desired().candidate_deployments(record):
            return AT_ONCE
        if known is None:
            known = self._known[record.id] = Readiness(False)
            self._begin(("ready", record.id), self._make_ready(record))
        return known

    def cool(self, over: Iterable[Record], standing: Collection[Record]) -> list[str]:
        """Have the candidates of rollouts that are over unloaded; the ids of those that nothing is left to do for."""
        self._standing = {record.id: record for record in standing}
        done = []
        for record in over:
            self._known.pop(record.id, None)
            if record.id in self._cold or not self._desired().unneeded(record, standing):
                self._cold.discard(record.id)
                done.append(record.id)
            elif ("cool", record.id) not in self._tasks:
                self._begin(("cool", record.id), self._unload(record))
        return done

    def forget(self, standing: Iterable[Record]) -> None:
        """Remember nothing but of rollouts that are still to begin."""
        ids = {record.id for record in standing if record.state is not State.RUNNING}
        self._known = {id_: known for id_, known in self._known.items() if id_ in ids}
        for (kind, id_), task in list(self._tasks.items()):
            if kind == "ready" and id_ not in ids:
                task.cancel()

    async def stop(self) -> None:
        """Ask for nothing any more; inference goes on with what it was asked for."""
        await end(*self._tasks.values())

    def _begin(self, name: tuple[str, str], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _make_ready(self, record: Record) -> None:
        again_s = self._again_s
        while True:
            try:
                waits = await self._step(record)
            except NotReady as error:
                waits = error.message
            except HeadraceError as error:
                self._tell(record, Readiness(False, failed=error.message))
                return
            if not waits:
                self._tell(record, AT_ONCE)
                return
            self._tell(record, Readiness(False, waits))
            await asyncio.sleep(again_s)
            again_s = min(again_s * 1.5, 10 * self._again_s)

    async def _step(self, record: Record) -> str:
        """Load what is to be loaded; what there is to wait for, or nothing."""
        names = self._desired().candidate_deployments(record)
        async with self._unloading:
            states = await self._models.states() if names else {}
        for name in names:
            state = states.get(name, "")
            if state in _BUSY:
                return f"deployment {name!r} is {state or 'not known to inference yet'}"
            if state not in (READY, "asleep"):  # a request has the server of one that sleeps started
                self._tell(record, Readiness(False, f"loads deployment {name!r}"))
                try:
                    await self._models.load(name)
                except NotReady:
                    raise
                except HeadraceError as error:
                    raise HeadraceError(f"deployment {name!r} cannot be loaded: {error.message}") from error
        return ""

    def _tell(self, record: Record, readiness: Readiness) -> None:
        if self._known.get(record.id) != readiness:
            self._known[record.id] = readiness
            self._wake()

    async def _unload(self, record: Record) -> None:
        # A gateway that was not reached may send to it for a lease; streams that run then are drained by inference.
        await asyncio.sleep(self._lease_s())
        async with self._unloading:
            # Rollouts that began meanwhile may need it.
            for name in self._desired().unneeded(record, self._standing.values()):
                try:
                    states = await self._models.states()
                    if states.get(name) in (READY, "failed"):
                        await self._models.unload(name)
                        _log.info("deployment %s is unloaded: rollout %s is over and nothing names it", name, record.id)
                except NotReady:
                    return  # the next look asks again
                except HeadraceError as error:
                    _log.warning("deployment %s stays loaded: %s", name, error.message)
        self._cold.add(record.id)
        self._wake()
