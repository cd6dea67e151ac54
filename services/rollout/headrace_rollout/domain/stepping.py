"""Whether a running rollout goes on, waits, holds or is rolled back. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from headrace_rollout.domain.evaluation import FAILED, PASSED, RUNNING, Evaluation
from headrace_rollout.domain.records import WHOLE, Record
from headrace_rollout.domain.verdicts import BEYOND, MISSING, WITHIN, Action, Findings, Verdict


@dataclass(frozen=True, slots=True)
class Move:
    """What a look makes of a running rollout; `action` None: it goes on serving its step."""

    action: Action | None
    reason: str = ""
    for_a_person: bool = False
    """It holds after its `at_most`: a person should look at it, and it is rolled back when none does."""


def decide(record: Record, findings: Findings, now: datetime) -> Move:
    """What to do with a running rollout whose `served_s`, `held_s` and `missing_s` are counted up to now.

    Harm comes first: one metric beyond its margin rolls back at any time, whatever else holds the step.
    """
    step = record.spec.steps[record.step]
    if findings.broken:
        return Move(Action.ROLL_BACK, findings.broken)
    if record.weight < WHOLE:
        harmed = [verdict for verdict in findings.verdicts if verdict.state == BEYOND]
        if harmed:
            return Move(Action.ROLL_BACK, "beyond its margin: " + "; ".join(map(in_words, harmed)))
        limit = findings.missing_limit_s
        if limit is not None and record.missing_s > limit:
            return Move(
                Action.ROLL_BACK, f"nothing was known of {', '.join(missing(record, findings))} for {limit:g} s"
            )
        open_ = [verdict for verdict in needed(record, findings) if verdict.state != WITHIN]
    else:
        open_ = []
    suite = evaluation_of(record, findings)
    if suite is not None and suite.state == FAILED:
        return Move(Action.ROLL_BACK, f"the evaluation {suite.suite} failed: {suite.why}")
    if findings.unserved:
        return Move(Action.HOLD, findings.unserved)
    if record.served_s < step.at_least:
        return Move(None)
    waits = ""
    if suite is not None and suite.state != PASSED:
        waits = suite.in_words()
        if not suite.why and (step.at_most is None or record.served_s < step.at_most):
            return Move(None)
    elif open_:
        waits = "not yet shown to be within its margin: " + "; ".join(map(in_words, open_))
    elif not findings.complete:
        waits = "outcomes cannot be read to their end just now"
    elif step.approval and record.approved < record.step:
        waits = f"waits for a person: headrace rollouts approve {record.id}"
    if waits:
        if step.at_most is None or record.served_s < step.at_most:
            return Move(Action.HOLD, waits)
        if record.held_s >= record.spec.hold:
            return Move(Action.ROLL_BACK, f"{record.spec.hold:g} s after its at_most nobody has helped it on: {waits}")
        return Move(Action.HOLD, f"its at_most of {step.at_most:g} s has passed: {waits}", for_a_person=True)
    if closed := closed_until(record, now):
        return Move(Action.HOLD, closed)
    last = record.step == len(record.spec.steps) - 1
    why = []
    if suite is not None:
        why.append(f"the evaluation {suite.suite} was passed ({suite.found()})")
    if needed(record, findings) and record.weight < WHOLE:
        why.append("every metric is within its margin")
    return Move(Action.PROMOTE if last else Action.ADVANCE, "; ".join(why))


def evaluation_of(record: Record, findings: Findings) -> Evaluation | None:
    """Where the suite of the record's step is; None where the step has none."""
    if record.evaluates is None:
        return None
    found = findings.evaluation
    if found is None or found.step != record.step:
        return Evaluation(record.id, record.step, record.evaluates, RUNNING)
    return found


def closed_until(record: Record, now: datetime) -> str:
    """Why no step may begin now; empty where one may."""
    for freeze in record.spec.freeze:
        if freeze.start <= now < freeze.end:
            why = f" ({freeze.reason})" if freeze.reason else ""
            return f"frozen until {freeze.end.isoformat()}{why}"
    schedule = record.spec.schedule
    if schedule is not None and not schedule.open(now):
        return f"outside its schedule; goes on at {schedule.opens(now).isoformat()}"
    return ""


def needed(record: Record, findings: Findings) -> list[Verdict]:
    """The verdicts that the record's step waits for."""
    so_far = record.spec.steps[: record.step + 1]
    return findings.needed(live=record.weight > 0, shadows=any(step.shadow for step in so_far))


def missing(record: Record, findings: Findings) -> list[str]:
    """The names of what the record's step waits for and about which nothing can be known just now."""
    if record.weight >= WHOLE:
        return []
    names = [verdict.metric for verdict in needed(record, findings) if verdict.state == MISSING]
    suite = evaluation_of(record, findings)
    if suite is not None and suite.state == RUNNING and suite.why:
        names.append(f"the evaluation {suite.suite} ({suite.why})")
    return names


def in_words(verdict: Verdict) -> str:
    """A verdict in a line, with its numbers."""
    known = [
        f"{name} {number:.4g}"
        for name, number in (("estimate", verdict.estimate), ("margin", verdict.margin))
        if number is not None
    ]
    if verdict.low is not None or verdict.high is not None:
        low, high = ("?" if bound is None else f"{bound:.4g}" for bound in (verdict.low, verdict.high))
        known.insert(1, f"interval {low} to {high}")
    known.append(f"{verdict.n_candidate} on the candidate, {verdict.n_baseline} on the baseline")
    reason = f"{verdict.reason}; " if verdict.reason else ""
    return f"{verdict.metric} ({reason}{', '.join(known)})"
