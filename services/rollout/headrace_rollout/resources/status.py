"""What a `ModelRollout` shows under `status`. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from headrace_rollout.domain.records import Record, State
from headrace_rollout.resources.resource import Resource

PHASES = {
    State.QUEUED: "Queued",
    State.PENDING: "Pending",
    State.RUNNING: "Running",
    State.PROMOTED: "Promoted",
    State.ROLLED_BACK: "RolledBack",
    State.ABORTED: "Aborted",
    State.SUPERSEDED: "Superseded",
}
REFUSED = "Refused"
"""The spec cannot be followed, and no rollout came of one before it."""
_NUMBERS = ("estimate", "low", "high", "margin", "alpha", "evidence")
_COUNTS = {"n_baseline": "baseline", "n_candidate": "candidate"}
_MOST_TEXT = 1024


def make(
    resource: Resource,
    record: Record | None,
    verdicts: Iterable[Mapping[str, Any]],
    problem: tuple[str, str] | None,
    now: datetime,
) -> dict[str, Any]:
    """The status of a resource.

    Args:
        resource: it.
        record: its rollout; None where there never was one.
        verdicts: the newest of its rollout.
        problem: why the spec as it is now is not followed, as a reason in CamelCase and a message.
        now: time of conditions that changed.
    """
    status: dict[str, Any] = {"observedGeneration": resource.generation, "phase": REFUSED}
    if record is not None:
        status |= {
            "phase": PHASES[record.state],
            "rolloutID": record.id,
            "step": record.step + 1,
            "steps": len(record.spec.steps),
            "progress": f"{record.step + 1}/{len(record.spec.steps)}",
            "weight": f"{record.weight / 100:g}%",
            "shadow": f"{record.shadow / 100:g}%",
            "holds": record.holds[:_MOST_TEXT],
            "startedAt": _time(record.created_at),
            "stepStartedAt": _time(record.step_started_at),
        }
    shown = [_verdict(verdict) for verdict in verdicts]
    status["metrics"] = _summary(shown)
    status["verdicts"] = shown
    message = problem[1] if problem else (record.holds or record.reason) if record else ""
    status["message"] = message[:_MOST_TEXT]
    status["conditions"] = _conditions(resource, record, problem, now)
    return status


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether more than numbers of verdicts changed, which change with each request."""
    return _steady(before) != _steady(after)


def _steady(status: Mapping[str, Any]) -> dict[str, Any]:
    left_out = {"verdicts", "message", "holds"} if status.get("holds") else {"verdicts"}
    kept = {key: value for key, value in status.items() if key not in left_out}
    conditions = kept.pop("conditions", ())
    kept["conditions"] = [(one["type"], one["status"], one["reason"]) for one in conditions]
    return kept


def _conditions(
    resource: Resource, record: Record | None, problem: tuple[str, str] | None, now: datetime
) -> list[dict[str, Any]]:
    state = record.state if record else None
    reason = PHASES[state] if state else REFUSED
    why = record.reason if record else ""
    if problem:
        accepted = ("Accepted", "False", *problem)
    else:
        accepted = ("Accepted", "True", "Accepted", f"followed as rollout {record.id}" if record else "")
    if record is not None and record.live:
        waits = record.holds or (why if state is State.PENDING else "")
        progressing = ("Progressing", "True" if not waits else "False", "Holds" if waits else reason, waits or why)
    else:
        progressing = ("Progressing", "False", reason, why or (problem[1] if problem else ""))
    ready = ("Ready", "True" if state is State.PROMOTED else "False", reason, why or (problem[1] if problem else ""))
    old = {one.get("type"): one for one in resource.status.get("conditions", ())}
    made = []
    for kind, truth, because, message in (accepted, progressing, ready):
        before = old.get(kind, {})
        same = before.get("status") == truth
        made.append(
            {
                "type": kind,
                "status": truth,
                "reason": because,
                "message": message[:_MOST_TEXT],
                "lastTransitionTime": before["lastTransitionTime"] if same else _time(now),
                "observedGeneration": resource.generation,
            }
        )
    return made


def _verdict(verdict: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"metric": verdict["metric"], "state": str(verdict["state"])}
    shown |= {name: float(verdict[name]) for name in _NUMBERS if verdict.get(name) is not None}
    shown |= {shown_as: int(verdict[name]) for name, shown_as in _COUNTS.items() if verdict.get(name) is not None}
    if verdict.get("reason"):
        shown["reason"] = str(verdict["reason"])[:_MOST_TEXT]
    return shown


def _summary(verdicts: list[dict[str, Any]]) -> str:
    """In a word for a table: `errors beyond`, or `3/5 within`."""
    beyond = [verdict["metric"] for verdict in verdicts if verdict["state"] == "beyond"]
    if beyond:
        return f"{', '.join(beyond)} beyond"[:_MOST_TEXT]
    states = Counter(verdict["state"] for verdict in verdicts)
    return f"{states['within']}/{len(verdicts)} within" if verdicts else ""


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
