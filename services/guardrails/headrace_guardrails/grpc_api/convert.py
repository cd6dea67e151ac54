"""Between protos and the domain's types."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from headrace_detectors import Action
from headrace_guardrails.domain.reviews import Review
from headrace_guardrails.ports import Failure, Found, Policy, Subject
from headrace_kit.errors import BadInput
from headrace_kit.rpc.call import Call
from headrace_kit.rpc.client import Outbound
from headrace_protos.guardrails.v1 import messages_pb2 as pb

_DIRECTIONS = {
    "input": pb.DIRECTION_INPUT,
    "retrieved": pb.DIRECTION_RETRIEVED,
    "tool_call": pb.DIRECTION_TOOL_CALL,
    "tool_result": pb.DIRECTION_TOOL_RESULT,
    "output": pb.DIRECTION_OUTPUT,
}
_DIRECTION_NAMES: dict[int, str] = {number: name for name, number in _DIRECTIONS.items()}
_ACTIONS = {
    Action.ALLOW: pb.ACTION_ALLOW,
    Action.FLAG: pb.ACTION_FLAG,
    Action.MASK: pb.ACTION_MASK,
    Action.REWRITE: pb.ACTION_REWRITE,
    Action.ESCALATE: pb.ACTION_ESCALATE,
    Action.BLOCK: pb.ACTION_BLOCK,
}
_ACTION_NAMES: dict[int, Action] = {number: action for action, number in _ACTIONS.items()}
_STATES = {
    "open": pb.REVIEW_STATE_OPEN,
    "claimed": pb.REVIEW_STATE_CLAIMED,
    "approved": pb.REVIEW_STATE_APPROVED,
    "rejected": pb.REVIEW_STATE_REJECTED,
    "expired": pb.REVIEW_STATE_EXPIRED,
}
_STATE_NAMES: dict[int, str] = {number: name for name, number in _STATES.items()}
_NAME_CHARS = 200
_MOST_POLICIES = 1000


def direction_of(number: int) -> str:
    """The direction's name.

    Raises:
        BadInput: it was left out, or is none that we know.
    """
    name = _DIRECTION_NAMES.get(number)
    if name is None:
        raise BadInput(f"the direction is one of {', '.join(_DIRECTIONS)}", param="direction")
    return name


def subject_of(request: Any, call: Call) -> Subject:
    """Whose text a request is about, and what it is. Raises BadInput."""
    who = call.caller
    return Subject(
        policy=request.policy,
        direction=direction_of(request.direction),
        tenant=who.tenant,
        user=who.user,
        request_id=call.request_id,
        trace_id=request.trace_id[:64],
        conversation_id=request.conversation_id[:_NAME_CHARS],
        context=getattr(request, "context", ""),
        also=also_of(request),
        outbound=Outbound.of(call),
    )


def also_of(request: Any) -> tuple[str, ...]:
    """The other policies that a text has to pass. Raises BadInput."""
    also = tuple(getattr(request, "also", ()))
    if len(also) > _MOST_POLICIES:
        raise BadInput(f"at most {_MOST_POLICIES} policies", param="also")
    return also


def released_of(review: Review, call: Call) -> Subject:
    """Whose an approved text is, and what it is."""
    return Subject(
        policy=review.policy,
        direction=review.direction,
        tenant=review.tenant,
        user=call.caller.user,
        request_id=call.request_id,
        trace_id=review.trace_id,
        outbound=Outbound.of(call),
    )


def action_proto(action: Action) -> pb.Action:
    """An action on the wire."""
    return _ACTIONS[action]


def action_of(number: int) -> Action:
    """An action from the wire. Raises BadInput."""
    if number not in _ACTION_NAMES:
        raise BadInput("a decision names its action", param="action")
    return _ACTION_NAMES[number]


def state_of(number: int) -> str:
    """A review's state by name; empty when it was left out. Raises BadInput."""
    if number and number not in _STATE_NAMES:
        raise BadInput(f"the state is one of {', '.join(_STATES)}", param="state")
    return _STATE_NAMES.get(number, "")


def findings_proto(findings: Iterable[Found]) -> list[pb.Finding]:
    """Findings on the wire."""
    return [
        pb.Finding(
            check=found.finding.check,
            kind=found.finding.kind,
            start=found.finding.start,
            end=found.finding.end,
            score=found.finding.score,
            action=action_proto(found.finding.action),
            version=found.version,
        )
        for found in findings
    ]


def failures_proto(failures: Iterable[Failure]) -> list[pb.Failure]:
    """Failures on the wire."""
    return [pb.Failure(check=one.check, reason=one.reason, closed=one.closed) for one in failures]


def policy_proto(name: str, policy: Policy) -> pb.Policy:
    """A policy and its checks on the wire."""
    return pb.Policy(
        name=name,
        version=policy.version,
        shadow=policy.shadow,
        checks=[
            pb.PolicyCheck(
                direction=_DIRECTIONS[check.direction],
                check=check.check,
                action=action_proto(check.action),
                tier=check.tier,
                threshold=check.threshold,
                timeout_ms=check.timeout_ms,
                closed_on_failure=check.closed,
            )
            for check in policy.checks
        ],
    )


def review_proto(review: Review) -> pb.Review:
    """A review on the wire."""
    return pb.Review(
        id=review.id,
        state=_STATES[review.state],
        tenant=review.tenant,
        user=review.user,
        policy=review.policy,
        version=review.version,
        direction=_DIRECTIONS[review.direction],
        findings=[
            pb.Finding(
                check=found["check"],
                kind=found["kind"],
                start=found["start"],
                end=found["end"],
                score=found["score"],
                action=action_proto(Action(found["action"])),
                version=found["version"],
            )
            for found in review.findings
        ],
        trace_id=review.trace_id,
        created_at=time_proto(review.created_at),
        expires_at=time_proto(review.expires_at),
        claimed_by=review.claimed_by,
        claimed_until=time_proto(review.claimed_until),
        decided_by=review.decided_by,
        decided_at=time_proto(review.decided_at),
        reason=review.reason,
        text=review.text,
    )


def time_proto(at: datetime | None) -> Timestamp | None:
    """A moment on the wire."""
    if at is None:
        return None
    made = Timestamp()
    made.FromDatetime(at.astimezone(UTC))
    return made


def time_of(message: Any, field: str) -> datetime | None:
    """A moment from the wire; None when it was left out."""
    if not message.HasField(field):
        return None
    found: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    return found


def direction_proto(direction: str) -> pb.Direction:
    """A direction on the wire."""
    return _DIRECTIONS[direction]
