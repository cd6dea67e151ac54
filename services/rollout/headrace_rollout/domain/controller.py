"""The loop that moves rollouts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from headrace_kit.ending import end
from headrace_kit.errors import NotReady
from headrace_rollout.domain.candidates import Candidates, Readiness, at_once
from headrace_rollout.domain.desired import Desired
from headrace_rollout.domain.grants import Grants
from headrace_rollout.domain.hearing import Hearing
from headrace_rollout.domain.machine import Changes, Clock, look
from headrace_rollout.domain.news import of_hold, of_transition
from headrace_rollout.domain.records import Record, Transition
from headrace_rollout.domain.routing import Routing
from headrace_rollout.domain.verdicts import Action, Findings
from headrace_rollout.metrics import Metrics
from headrace_rollout.ports import RolloutStore

_log = logging.getLogger(__name__)
TICK_S = 1.0
LOOK_MOST_S = 5.0
"""A look that takes longer is given up: the store does not answer."""


class Controller:
    """Looks at the rollouts about once a second, and at once when woken.

    Any number of replicas may run one. Each look of one is a transaction that holds the store's writer lock, so there
    is one leader at a time and a look is done as a whole or not at all. While the store is away everything holds.
    """

    def __init__(
        self,
        store: RolloutStore,
        grants: Grants,
        desired: Callable[[], Desired],
        lease_s: Callable[[], float],
        metrics: Metrics,
        hearing: Hearing,
        telling: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._hearing = hearing
        self._telling = telling
        self._grants = grants
        self._desired = desired
        self._lease_s = lease_s
        self._metrics = metrics
        self._clock = clock
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._away = False
        self.candidates: Candidates | None = None
        """Makes candidates ready; None: they are."""
        self.routing: Routing | None = None
        """Puts requests on releases of services; None: no service has routes."""
        self.followers: list[Callable[[Iterable[Record]], None]] = []
        """Hear of all standing rollouts at each look, in every replica."""

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._forever())

    async def stop(self) -> None:
        """Stop; a look that is not finished is rolled back."""
        await end(self._task)

    def wake(self) -> None:
        """Look again at once. Call it on the event loop."""
        self._woken.set()

    async def tick(self) -> None:
        """One look, then tell the gateways.

        Raises:
            NotReady: the store is away; nothing changed.
        """
        async with self._store.leading() as work:
            self._metrics.leads.set(work is not None)
            if work is not None:
                standing = await work.standing()
                desired = self._desired()
                ended = await work.ended([wanted.id for wanted in desired.by_model.values()])
                found = await self._hearing.listen(work, standing)
                for id_, suite in (await work.evaluations([one.id for one in standing if one.evaluates])).items():
                    found[id_] = replace(found.get(id_, Findings()), evaluation=suite)
                ready: Callable[[Record], Readiness] = at_once if self.candidates is None else self.candidates.ready
                if self.routing is not None:
                    ready = self.routing.ready_or(ready)
                    for id_, (broken, unserved) in self.routing.findings(standing).items():
                        found[id_] = replace(found.get(id_, Findings()), broken=broken, unserved=unserved)
                changes = look(standing, ended, desired, Clock(work.now, self._lease_s()), new_salt, found, ready)
                for record in changes.counted:
                    await work.count(record)
                for transition in changes.transitions:
                    await work.apply(transition)
                for id_ in changes.anew:
                    await work.forget(id_)
                    self._hearing.forget(id_)
                    found.pop(id_, None)
                for decision in changes.decisions:
                    await work.decide(decision)
                if self._telling():
                    for news in told(changes):
                        await work.publish(news)
                if self.candidates is not None:
                    stands = await work.standing()
                    for id_ in self.candidates.cool(await work.warm(), stands):
                        await work.cooled(id_)
                    self.candidates.forget(stands)
                decided = bool(changes.transitions or changes.decisions)
                await self._hearing.keep(work, await work.standing() if decided else standing, found, decided=decided)
        if work is not None:
            self._hearing.committed()
            for transition in changes.transitions:
                tell(transition, self._metrics)
        await self.learn()

    async def learn(self) -> None:
        """Read the truth and tell the gateways. Raises as `tick`."""
        # The lease counts from before the question: the answer is true at some moment after it.
        asked_at = self._clock()
        truth = await self._store.truth()
        for follow in self.followers:
            follow(truth.records)
        self._grants.learn(truth, asked_at)

    async def _forever(self) -> None:
        while True:
            self._woken.clear()
            try:
                async with asyncio.timeout(LOOK_MOST_S):
                    await self.tick()
                self._set_away(False)
            except (NotReady, TimeoutError):
                self._set_away(True)
            except Exception:
                self._metrics.looks_failed.inc()
                _log.exception("a look at the rollouts failed; they hold")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):  # `wait_for` may swallow a cancellation in 3.11
                    await self._woken.wait()

    def _set_away(self, away: bool) -> None:
        if away:
            self._metrics.looks_failed.inc()
        if away != self._away:
            _log.warning("the database is away: rollouts hold" if away else "the database is back")
        self._away = away


def new_salt() -> str:
    """A salt that nobody can guess, so that no caller can choose an arm."""
    return secrets.token_hex(16)


def told(changes: Changes) -> Iterator[dict[str, Any]]:
    """What people hear of a look."""
    for transition in changes.transitions:
        yield of_transition(transition)
    counted = {record.id: record for record in changes.counted}
    for decision in changes.decisions:
        if decision.action is Action.HOLD and decision.rollout_id in counted:
            yield of_hold(counted[decision.rollout_id], decision)


def tell(transition: Transition, metrics: Metrics) -> None:
    """Log and count a transition that is stored."""
    record = transition.record
    metrics.transitions.labels(record.state).inc()
    _log.info(
        "rollout %s: %s",
        record.state,
        transition.reason,
        extra={
            "rollout_id": record.id,
            "model": record.model,
            "step": record.step,
            "weight": record.weight,
            "actor": transition.actor,
        },
    )
