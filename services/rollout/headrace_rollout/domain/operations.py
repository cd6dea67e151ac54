"""What people do with rollouts by API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Literal

from headrace_evals.suite import SuiteInvalid
from headrace_kit.errors import BadInput, Conflict, NotFound, NotReady
from headrace_kit.rpc import Identity
from headrace_rollout.analysis import Analysis
from headrace_rollout.domain import machine
from headrace_rollout.domain.controller import Controller, new_salt, tell
from headrace_rollout.domain.desired import Desired, Wanted, read_spec
from headrace_rollout.domain.evaluation import Evaluation
from headrace_rollout.domain.news import of_transition
from headrace_rollout.domain.records import Record, Transition
from headrace_rollout.metrics import Metrics
from headrace_rollout.ports import Files, RolloutStore, Story, Work

ADMIN = "admin"
MOST = 1000
SPEC_CHARS, REASON_CHARS = 65_536, 500


class Operations:
    """What people do with rollouts; all of it needs the scope `admin`. Changes reach the gateways at once.

    Args:
        store: what is kept.
        controller: moves rollouts, and tells the gateways.
        desired: the config.
        metrics: counts.
        files: what the config names beside it.
        telling: whether somebody is told what rollouts do.
    """

    def __init__(
        self,
        store: RolloutStore,
        controller: Controller,
        desired: Callable[[], Desired],
        metrics: Metrics,
        files: Files,
        telling: Callable[[], bool] = lambda: False,
    ) -> None:
        self._telling, self._files = telling, files
        self._store = store
        self._controller = controller
        self._desired = desired
        self._metrics = metrics

    async def rollouts(self, *, ended: bool, who: Identity) -> list[Record]:
        """The standing rollouts, or with `ended` the newest thousand of all; newest first."""
        who.require(ADMIN)
        if ended:
            return await self._store.all(MOST)
        records = (await self._store.truth()).records
        return sorted(records, key=lambda record: record.created_at, reverse=True)

    async def get(self, id_: str, who: Identity) -> Record:
        """One rollout. Raises NotFound."""
        who.require(ADMIN)
        return _there(await self._store.find(_checked(id_)), id_)

    async def verdicts(self, records: Sequence[Record]) -> dict[str, list[dict[str, Any]]]:
        """The newest verdicts of rollouts that are or were judged, by id."""
        return await self._store.verdicts([record.id for record in records if record.spec.analysis is not None])

    async def evaluations(self, records: Sequence[Record]) -> dict[str, Evaluation]:
        """The last evaluation of rollouts that have steps with one, by id."""
        return await self._store.evaluations(
            [record.id for record in records if any(step.evaluate for step in record.spec.steps)]
        )

    async def explain(self, id_: str, who: Identity) -> tuple[Record, Story, list[Mapping[str, Any]]]:
        """How a rollout came where it is, and its numbers over time. Raises NotFound."""
        record = await self.get(id_, who)
        story = await self._store.story(id_)
        points: list[Mapping[str, Any]] = []
        if story.analysis is not None and record.spec.analysis is not None:
            with suppress(ValueError):  # of another version of this service
                points = list(Analysis.load(record.spec.analysis, dict(story.analysis)).history.points())
        return record, story, points

    async def approve(self, id_: str, step: int, who: Identity) -> Record:
        """Let a step go on that waits for a person. Raises NotFound, or Conflict when it does not."""
        who.require(ADMIN)
        return await self._change(id_, lambda record, now: machine.approve(record, step, now, _actor(who)))

    async def start(
        self,
        model: str,
        spec_json: str,
        who: Identity,
        source: Literal["api", "resource"] = "api",
        *,
        queue: bool = False,
    ) -> Record:
        """Ask for a rollout beside the config. One that stands already is returned as it is; asked for by `resource`,
        it goes when the resource does.

        Args:
            model: of the config.
            spec_json: as in `rollouts:`.
            who: asks.
            source: what asks.
            queue: wait behind what stands of the model; else it takes that one's place.

        Raises:
            BadInput: no such model, or the spec is not valid; `param` names the field.
            Conflict: this very rollout has ended before, or the queue is full.
        """
        who.require(ADMIN)
        if len(spec_json) > SPEC_CHARS:
            raise BadInput(f"spec_json has at most {SPEC_CHARS} characters", param="spec_json")
        wanted = Wanted(model, read_spec(spec_json))
        self._desired().check(wanted)
        for number, step in enumerate(wanted.spec.steps):
            if step.evaluate is not None:
                where = f"spec_json.steps[{number}].evaluate"
                _readable(partial(self._files.load, step.evaluate), f"the suite {step.evaluate!r}", where)
        judge = wanted.spec.shadow.judge
        if judge is not None:
            _readable(partial(self._files.labels, judge.labels), "the judge", "spec_json.shadow.judge.labels")
        async with self._store.changing() as work:
            known = await work.find(wanted.id)
            if known is not None and not known.standing:
                raise Conflict(
                    f"rollout {known.id} has ended: it is {known.state} ({known.reason}); change its spec to try again",
                    param="spec_json",
                )
            transitions = []
            if known is None:
                standing = await work.standing()
                if queue:
                    transitions = machine.queue(wanted, standing, _actor(who), work.now, new_salt)
                else:
                    transitions = machine.ask(wanted, standing, source, _actor(who), work.now, new_salt)
            elif known.source == "api" != source:
                transitions = [machine.claim(known, source, work.now, _actor(who))]
            await self._apply(work, transitions)
        await self._told(transitions)
        return _there(await self._store.find(wanted.id), wanted.id)

    async def promote(self, id_: str, who: Identity) -> Record:
        """To 100% at once. Raises NotFound, or Conflict when it does not run."""
        who.require(ADMIN)
        return await self._change(id_, lambda record, now: machine.promote(record, now, _actor(who)))

    async def abort(self, id_: str, reason: str, who: Identity) -> Record:
        """Back to the baseline at once. Raises NotFound, or Conflict when it has ended."""
        who.require(ADMIN)
        if len(reason) > REASON_CHARS or "\0" in reason:
            raise BadInput(f"reason is text of at most {REASON_CHARS} characters", param="reason")
        why = reason or "aborted by hand"
        return await self._change(id_, lambda record, now: machine.abort(record, now, why, _actor(who)))

    async def _change(self, id_: str, change: Callable[[Record, datetime], Transition]) -> Record:
        async with self._store.changing() as work:
            transition = change(_there(await work.find(_checked(id_)), id_), work.now)
            await self._apply(work, [transition])
        await self._told([transition])
        return transition.record

    async def _apply(self, work: Work, transitions: list[Transition]) -> None:
        for transition in transitions:
            await work.apply(transition)
            if self._telling():
                await work.publish(of_transition(transition))

    async def _told(self, transitions: list[Transition]) -> None:
        for transition in transitions:
            tell(transition, self._metrics)
        # Stored it is; should the store go away just now, the controller's own loop goes on from there.
        with suppress(NotReady):
            await self._controller.tick()


def _checked(id_: str) -> str:
    if not id_ or len(id_) > 64 or not id_.isalnum():
        raise NotFound(f"there is no rollout {id_[:64]!r}", code="rollout_not_found", param="id")
    return id_


def _there(record: Record | None, id_: str) -> Record:
    if record is None:
        raise NotFound(f"there is no rollout {id_!r}", code="rollout_not_found", param="id")
    return record


def _actor(who: Identity) -> str:
    return who.user or who.key_id or who.service


def _readable(read: Callable[[], object], what: str, param: str) -> None:
    try:
        read()
    except SuiteInvalid as error:
        raise BadInput(f"{param}: {what} cannot be run: {error}", param=param) from error
