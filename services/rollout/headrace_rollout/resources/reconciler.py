"""Brings rollouts to what `ModelRollout` resources ask for, and their status to what is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from headrace_kit.errors import BadInput, Conflict, NotFound
from headrace_kit.rpc import Identity
from headrace_rollout.domain.desired import read_spec
from headrace_rollout.domain.operations import ADMIN, Operations
from headrace_rollout.domain.records import Record, rollout_id
from headrace_rollout.ports import ModelRollouts
from headrace_rollout.resources import status
from headrace_rollout.resources.resource import ABORT, APPROVE, FINALIZER, PROMOTE, Resource

_log = logging.getLogger(__name__)
NUMBERS_EVERY_S = 10.0
"""Numbers of verdicts change with each request: they are written this often."""
_BAD_ENDS = frozenset({"RolledBack", "Aborted", status.REFUSED})


class Reconciler:
    """Looks at all resources again and again; a look may be cut off anywhere and be done again.

    Args:
        api: where resources are changed.
        operations: where rollouts are.
        clock: as `time.monotonic`.
    """

    def __init__(self, api: ModelRollouts, operations: Operations, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._operations = operations
        self._clock = clock
        self._written: dict[str, float] = {}

    async def look(self, resources: Sequence[Resource]) -> None:
        """One look at all resources that there are.

        Raises:
            NotReady: the database or the API server is away; what was done is done.
        """
        wanted: set[str] = set()
        for resource in resources:
            try:
                wanted |= await self._reconcile(resource)
            except Conflict:
                # It changed while we looked; the next look sees how.
                wanted |= _ids(resource)
        # A resource that went without our finalizer, or that asks for something else now.
        for record in await self._operations.rollouts(ended=False, who=_who("the controller")):
            if record.source == "resource" and record.id not in wanted:
                await self._abort(record.id, "no ModelRollout asks for it any more", _who("the controller"))
        known = {resource.uid for resource in resources}
        self._written = {uid: at for uid, at in self._written.items() if uid in known}

    async def _reconcile(self, resource: Resource) -> set[str]:
        """Returns the ids of rollouts that the resource stands for."""
        who = _who(resource.name)
        if resource.deleting:
            await self._let_go(resource, who)
            return set()
        # Once: an uninstallation takes it off, and then nobody is there who could.
        if FINALIZER not in resource.finalizers and not resource.status:
            await self._api.patch(resource, finalizers=[*resource.finalizers, FINALIZER])
            return _ids(resource)  # the patch makes a new version of it, which comes by itself
        record, problem = await self._follow(resource, who)
        if given := [name for name in (ABORT, APPROVE, PROMOTE) if name in resource.annotations]:
            for name in given:
                await self._obey(resource, name, record, who)
            await self._api.patch(resource, without_annotations=given)
            if record is not None:
                record = await self._operations.get(record.id, who)
        await self._show(resource, record, problem)
        return {record.id} if record else set()

    async def _follow(self, resource: Resource, who: Identity) -> tuple[Record | None, tuple[str, str] | None]:
        """Start what the spec says, once. Returns its rollout, and why the spec is not followed where it is not."""
        try:
            id_ = rollout_id(resource.model, read_spec(resource.spec_json))
            record = await self._find(id_, who)
            if record is None or (record.standing and record.source == "api"):
                record = await self._operations.start(
                    resource.model, resource.spec_json, who, source="resource", queue=resource.queue
                )
        except Conflict as error:  # the queue is full: it is tried again
            problem = ("QueueFull", error.message)
        except BadInput as error:
            problem = ("Invalid", error.message.replace("spec_json", "spec"))
        else:
            if record.standing or record.id == resource.status.get("rolloutID"):
                return record, None
            ended = f"rollout {record.id}, which this spec asks for, has ended: it is {record.state}"
            problem = ("Ended", f"{ended} ({record.reason}); change the spec to try again")
        # What it stood for before goes on, as it does when an edit of the config is refused.
        last = resource.status.get("rolloutID")
        return (await self._find(last, who) if last else None), problem

    async def _obey(self, resource: Resource, name: str, record: Record | None, who: Identity) -> None:
        verb, said = name.rsplit("/", 1)[1], resource.annotations[name]
        try:
            if record is None:
                raise NotFound("it has no rollout: see the condition Accepted")
            if name == PROMOTE:
                await self._operations.promote(record.id, who)
            elif name == ABORT:
                await self._operations.abort(record.id, said if said not in ("", "true") else "aborted by hand", who)
            else:
                await self._operations.approve(record.id, _step(said, record), who)
        except (BadInput, Conflict, NotFound) as error:
            await self._api.event(resource, f"{verb.capitalize()}Refused", error.message, warning=True)

    async def _let_go(self, resource: Resource, who: Identity) -> None:
        if FINALIZER not in resource.finalizers:
            return
        for id_ in _ids(resource):
            record = await self._find(id_, who)
            if record is not None and record.standing and record.source == "resource":
                await self._abort(record.id, "its ModelRollout was deleted", who)
        await self._api.patch(resource, finalizers=[one for one in resource.finalizers if one != FINALIZER])

    async def _abort(self, id_: str, reason: str, who: Identity) -> None:
        try:
            await self._operations.abort(id_, reason, who)
        except Conflict as error:
            _log.info("not aborted: %s", error.message)

    async def _show(self, resource: Resource, record: Record | None, problem: tuple[str, str] | None) -> None:
        verdicts = (await self._operations.verdicts([record])).get(record.id, []) if record else []
        made = status.make(resource, record, verdicts, problem, datetime.now(UTC))
        before, now = resource.status, self._clock()
        if not status.changed(before, made):
            due = now - self._written.get(resource.uid, -NUMBERS_EVERY_S) >= NUMBERS_EVERY_S
            if not due or made["verdicts"] == before.get("verdicts", []):
                return
        for reason, message, warning in _news(before, made):
            await self._api.event(resource, reason, message, warning=warning)
        await self._api.apply_status(resource, made)
        self._written[resource.uid] = now

    async def _find(self, id_: str, who: Identity) -> Record | None:
        try:
            return await self._operations.get(id_, who)
        except NotFound:
            return None


def _news(before: dict[str, Any] | Any, after: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Events of a change of status: reason, message, whether it is a warning."""
    place = ("rolloutID", "phase", "step")
    if [before.get(key) for key in place] != [after.get(key) for key in place]:
        phase = after["phase"]
        reason = "StepStarted" if phase == "Running" else phase
        return [(reason, after["message"], phase in _BAD_ENDS)]
    held = {one["type"]: one["reason"] for one in after["conditions"]}["Progressing"] == "Holds"
    if held and not before.get("holds"):
        return [("Holds", after["message"], True)]
    return []


def _step(said: str, record: Record) -> int:
    """The step that an annotation approves, as people count, from 1; `true` is the one that it is in."""
    if said == "true":
        return record.step
    if not said.isascii() or not said.isdigit():
        raise BadInput(f"{APPROVE} is the number of a step, from 1, or `true` for the one it is in: not {said!r}")
    return int(said) - 1


def _ids(resource: Resource) -> set[str]:
    """Ids of the rollouts that it may stand for: what it asks for, and what it showed last."""
    ids = {str(resource.status["rolloutID"])} if resource.status.get("rolloutID") else set()
    with suppress(BadInput):
        ids.add(rollout_id(resource.model, read_spec(resource.spec_json)))
    return ids


def _who(name: str) -> Identity:
    return Identity("rollout", user=f"resource {name}", scopes=frozenset({ADMIN}))
