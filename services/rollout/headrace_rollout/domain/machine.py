"""The state machine of rollouts: from what stands and what is wanted to what changes now. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from headrace_kit.errors import Conflict
from headrace_rollout.domain.candidates import Readiness, at_once
from headrace_rollout.domain.desired import Desired, Wanted
from headrace_rollout.domain.records import Record, State, Transition
from headrace_rollout.domain.stepping import closed_until, decide, evaluation_of, missing
from headrace_rollout.domain.verdicts import Action, Decision, Findings, told

NOTHING_FOUND: Mapping[str, Findings] = {}
_LATE = "its at_most "
MOST_QUEUED = 100
"""Rollouts of a model that may stand when another one is queued."""


@dataclass(slots=True)
class Changes:
    """What a look at the rollouts changed.

    `counted` are records whose served time grew without a transition; `anew` are the ids of those that begin anew, so
    that nothing counts that was known of them.
    """

    transitions: list[Transition] = field(default_factory=list)
    counted: list[Record] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    anew: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Clock:
    """When a look happens, and how long grants outlive the last one that could be renewed."""

    now: datetime
    lease_s: float


def look(
    standing: Iterable[Record],
    ended: Collection[str],
    desired: Desired,
    clock: Clock,
    new_salt: Callable[[], str],
    findings: Mapping[str, Findings] = NOTHING_FOUND,
    ready: Callable[[Record], Readiness] = at_once,
) -> Changes:
    """Bring the standing rollouts one move closer to what the config wants.

    Each rollout makes one move at most, a new one its first two. Repeating a look at the same moment changes nothing
    more than going on does, so it may be cut off anywhere and be done again.

    Args:
        standing: all rollouts that are live, overlays, or queued.
        ended: of the ids that the config wants, those that have ended.
        desired: the config.
        clock: the time.
        new_salt: draws a salt.
        findings: what is known of rollouts that are judged, by id; one that is not in it is judged by time alone.
        ready: whether a candidate that is about to start can be served.
    """
    standing = list(standing)
    new_ids = {wanted.id for wanted in desired.by_model.values()} - {record.id for record in standing} - set(ended)
    changes = Changes()
    after: dict[str, Record] = {}
    for record in sorted(standing, key=lambda record: record.created_at):
        moved = _follow_config(record, desired, clock, new_ids)
        if moved is None and record.state is State.RUNNING and (moved := _anew(record, desired, clock)):
            changes.anew.append(record.id)
        if moved is not None:
            changes.transitions.append(moved)
            record = moved.record
        after[record.id] = record
    for wanted in desired.by_model.values():
        if wanted.id not in after and wanted.id not in ended:
            changes.transitions += ask(wanted, after.values(), "config", "config", clock.now, new_salt)
            after |= {transition.record.id: transition.record for transition in changes.transitions}
    changed = {transition.record.id for transition in changes.transitions}
    for record in list(after.values()):
        if record.state is State.QUEUED and record.id not in changed:
            moved = _next_in_line(record, after.values(), clock)
            if moved is not None:
                changes.transitions.append(moved)
                after[record.id] = moved.record
        elif record.state is State.PENDING and record.id not in changes.anew:
            started = _start(record, after.values(), desired, clock, ready)
            if started is not None and started.record.state is State.ROLLED_BACK:
                changes.decisions.append(_decision(record, clock, Action.ROLL_BACK, started.reason, Findings()))
            if started is not None:
                changes.transitions.append(started)
                after[record.id] = started.record
        elif record.state is State.RUNNING and record.id not in changed:
            known = record.comparing(desired.arms(Wanted(record.model, record.spec)), clock.now)
            _go_on(known, clock, findings.get(record.id, Findings()), changes)
    return changes


def ask(
    wanted: Wanted,
    standing: Iterable[Record],
    source: str,
    actor: str,
    now: datetime,
    new_salt: Callable[[], str],
) -> list[Transition]:
    """A new rollout, and the end of those that it replaces: the newest wins."""
    transitions = [
        _to(record, State.SUPERSEDED, now, f"replaced by rollout {wanted.id}", actor)
        for record in standing
        if record.live and record.model == wanted.model
    ]
    new = Record(
        id=wanted.id,
        model=wanted.model,
        spec=wanted.spec,
        source=source,
        salt=new_salt(),
        state=State.PENDING,
        reason="waits for the controller",
        created_at=now,
        step_started_at=now,
    )
    return [*transitions, Transition(new, None, now, f"asked for by {source}", actor)]


def claim(record: Record, source: str, now: datetime, actor: str) -> Transition:
    """Somebody else asks for a rollout that stands, and has it from now on."""
    return Transition(replace(record, source=source), record.state, now, f"asked for by {source} too", actor)


def queue(
    wanted: Wanted, standing: Iterable[Record], actor: str, now: datetime, new_salt: Callable[[], str]
) -> list[Transition]:
    """A new rollout behind those of its model that stand; where there is none it is the first.

    Raises:
        Conflict: the queue is full.
    """
    in_front = _in_front([record for record in standing if record.model == wanted.model])
    if len(in_front) >= MOST_QUEUED:
        raise Conflict(f"{MOST_QUEUED} rollouts of the model {wanted.model!r} stand already: abort one", param="model")
    [asked] = ask(wanted, (), "api", actor, now, new_salt)
    if not in_front:
        return [asked]
    reason = _waits_for(in_front)
    return [replace(asked, record=replace(asked.record, state=State.QUEUED, reason=reason), reason=reason)]


def promote(record: Record, now: datetime, actor: str) -> Transition:
    """To 100% at once.

    Raises:
        Conflict: it does not run.
    """
    if record.state in (State.PENDING, State.QUEUED):
        raise Conflict(f"rollout {record.id} has not started: {record.reason}", param="id")
    if record.state is not State.RUNNING:
        raise Conflict(f"rollout {record.id} has ended: it is {record.state}", param="id")
    return _promoted(record, now, "promoted by hand", actor)


def abort(record: Record, now: datetime, reason: str, actor: str) -> Transition:
    """Back to the baseline at once, also from a promoted candidate that the file has not adopted.

    Raises:
        Conflict: it has ended.
    """
    if not record.standing:
        raise Conflict(f"rollout {record.id} has ended: it is {record.state}", param="id")
    return _to(record, State.ABORTED, now, reason, actor)


def approve(record: Record, step: int, now: datetime, actor: str) -> Transition:
    """Let a step go on that waits for a person, or that holds after its `at_most`.

    Raises:
        Conflict: it is not in this step, or has ended.
    """
    if record.state is not State.RUNNING:
        raise Conflict(f"rollout {record.id} does not run: it is {record.state}", param="id")
    if step != record.step:
        raise Conflict(f"rollout {record.id} is in step {record.step + 1}, not {step + 1}", param="step")
    if not record.spec.steps[step].approval:
        raise Conflict(
            f"step {step + 1} of rollout {record.id} needs no approval; promote it to go on in spite of its metrics",
            param="step",
        )
    if record.approved >= step:
        raise Conflict(f"step {step + 1} of rollout {record.id} was approved before", param="step")
    approved = replace(record, approved=step)
    reason = f"step {step + 1} was approved"
    return Transition(replace(approved, reason=reason), record.state, now, reason, actor)


def _follow_config(record: Record, desired: Desired, clock: Clock, new_ids: Collection[str]) -> Transition | None:
    now, own = clock.now, Wanted(record.model, record.spec)
    in_file = desired.by_model.get(record.model)
    mine = in_file is not None and in_file.id == record.id
    if problem := desired.problem(own):
        return _to(record, State.ABORTED, now, f"the config no longer allows it: {problem}", "config")
    if desired.adopted(own):
        reason = "the config's own model is the candidate now"
        return _to(record, State.PROMOTED, now, reason, "config")
    if record.source == "config" and not mine:
        if record.overlay:
            reason = "its entry was taken out of the config, which had not adopted the candidate"
            return _to(record, State.ABORTED, now, reason, "config")
        if in_file is None or in_file.id not in new_ids:
            return _to(record, State.ABORTED, now, "its entry was taken out of the config", "config")
    if mine and record.source != "config":
        return Transition(replace(record, source="config"), record.state, now, "the config asks for it too", "config")
    return None


def _anew(record: Record, desired: Desired, clock: Clock) -> Transition | None:
    """Back before the first step, when the config has changed what is compared: what was shown is of other arms."""
    compares = record.comparing(desired.arms(Wanted(record.model, record.spec)), clock.now)
    if compares.arms == record.arms or not record.arms:
        return None
    reason = "begins anew: the config has changed what it compares"
    return _to(replace(compares, step=0, approved=-1), State.PENDING, clock.now, reason, "config")


def _next_in_line(record: Record, standing: Iterable[Record], clock: Clock) -> Transition | None:
    others = [other for other in standing if other.model == record.model and other.id != record.id]
    in_front = _in_front([other for other in others if other.state is not State.QUEUED or _earlier(other, record)])
    if not in_front:
        return _to(record, State.PENDING, clock.now, "its turn has come: nothing is in front of it", "controller")
    reason = _waits_for(in_front)
    if record.reason == reason:
        return None
    return _to(replace(record, reason=reason), State.QUEUED, clock.now, reason, "controller")


def _earlier(one: Record, other: Record) -> bool:
    return (one.created_at, one.id) < (other.created_at, other.id)


def _in_front(records: Iterable[Record]) -> list[Record]:
    """Those that stand, the next to go last."""
    standing = [record for record in records if record.standing]
    return sorted(standing, key=lambda record: (record.state is State.QUEUED, record.created_at, record.id))


def _waits_for(in_front: list[Record]) -> str:
    more = f" and {len(in_front) - 1} more" if len(in_front) > 1 else ""
    return f"waits in the queue behind rollout {in_front[0].id}{more}"


def _start(
    record: Record, standing: Iterable[Record], desired: Desired, clock: Clock, ready: Callable[[Record], Readiness]
) -> Transition | None:
    in_the_way = [other.id for other in standing if other.overlay and other.model == record.model]
    if in_the_way:
        reason = (
            f"waits: rollout {in_the_way[0]} was promoted and the config has not adopted its candidate; "
            f"adopt it, or abort that rollout"
        )
        waiting = replace(record, reason=reason)
        return None if record.reason == reason else _to(waiting, State.PENDING, clock.now, reason, "controller")
    if closed := closed_until(record, clock.now):
        reason = f"waits: {closed}"
        return None if record.reason == reason else _to(record, State.PENDING, clock.now, reason, "controller")
    readiness = ready(record)
    if readiness.failed:
        reason = f"its candidate cannot be served: {readiness.failed}"
        return _to(replace(record, warm=True), State.ROLLED_BACK, clock.now, reason, "controller")
    if not readiness.ready:
        waiting = replace(record, reason=f"waits: {readiness.waits}")
        if not readiness.waits or record.reason == waiting.reason:
            return None
        return _to(waiting, State.PENDING, clock.now, waiting.reason, "controller")
    compares = record.comparing(desired.arms(Wanted(record.model, record.spec)), clock.now)
    started = _entered(replace(compares, warm=True), 0, clock)
    return _to(started, State.RUNNING, clock.now, _step_reason(started), "controller")


def _go_on(record: Record, clock: Clock, found: Findings, changes: Changes) -> None:
    passed = (clock.now - (record.counted_at or clock.now)).total_seconds()
    # A longer gap means that grants had lapsed and nobody was on the candidate; a clock set back is no time at all.
    counts = passed if 0 < passed <= clock.lease_s and not found.unserved else 0.0
    lacks = bool(missing(record, found))
    record = replace(
        record,
        served_s=record.served_s + counts,
        missing_s=record.missing_s + counts if lacks else 0.0,
        counted_at=clock.now,
    )
    move = decide(record, found, clock.now)
    if move.action is None or move.action is Action.HOLD:
        before = record.holds
        held_s = record.held_s + counts if move.for_a_person else 0.0
        record = replace(record, holds=move.reason, held_s=held_s)
        changes.counted.append(record)
        # What it waits for is told with numbers that change all the time; it is one decision all the same.
        if move.reason and (not before or move.for_a_person != before.startswith(_LATE)):
            changes.decisions.append(_decision(record, clock, Action.HOLD, move.reason, found))
        return
    if move.action is Action.ROLL_BACK:
        changes.transitions.append(_to(record, State.ROLLED_BACK, clock.now, move.reason, "controller"))
    elif move.action is Action.PROMOTE:
        why = f"all steps are done; {move.reason}" if move.reason else "all steps are done"
        changes.transitions.append(_promoted(record, clock.now, why, "controller"))
    else:
        moved = _entered(record, record.step + 1, clock)
        why = f"{move.reason}; {_step_reason(moved)}" if move.reason else _step_reason(moved)
        changes.transitions.append(_to(moved, State.RUNNING, clock.now, why, "controller"))
    changes.decisions.append(_decision(record, clock, move.action, changes.transitions[-1].reason, found))


def _decision(record: Record, clock: Clock, action: Action, reason: str, found: Findings) -> Decision:
    verdicts: tuple[Mapping[str, Any], ...] = tuple(told(verdict) for verdict in found.verdicts)
    if (suite := evaluation_of(record, found)) is not None:
        verdicts += suite.checks
    return Decision(record.id, clock.now, record.step, action, reason, verdicts)


def _entered(record: Record, step: int, clock: Clock) -> Record:
    return replace(
        record,
        step=step,
        step_started_at=clock.now,
        served_s=0.0,
        held_s=0.0,
        missing_s=0.0,
        counted_at=clock.now,
    )


def _promoted(record: Record, now: datetime, why: str, actor: str) -> Transition:
    reason = f"{why}; stands until the config adopts the candidate"
    last = replace(record, step=len(record.spec.steps) - 1)
    transition = _to(last, State.PROMOTED, now, reason, actor)
    return replace(transition, record=replace(transition.record, overlay=True))


def _to(record: Record, state: State, now: datetime, reason: str, actor: str) -> Transition:
    became = replace(record, state=state, reason=reason, overlay=False, holds="", held_s=0.0)
    return Transition(became, record.state, now, reason, actor)


def _step_reason(record: Record) -> str:
    step = record.spec.steps[record.step]
    shares = f"{step.weight / 100:g}%"
    if step.shadow:
        shares += f" and a shadow of {step.shadow / 100:g}%"
    if step.evaluate:
        shares += f" and the evaluation {step.evaluate}"
    return f"step {record.step + 1} of {len(record.spec.steps)}: {shares} for at least {step.at_least:g} s"
