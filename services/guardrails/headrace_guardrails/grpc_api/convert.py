"""Between protos and the domain's types."""

from __future__ import annotations

from collections.abc import Iterable

from headrace_detectors import Action, Finding
from headrace_guardrails.ports import Policy
from headrace_kit.errors import BadInput
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
    Action.BLOCK: pb.ACTION_BLOCK,
}


def direction_of(number: int) -> str:
    """The direction's name.

    Raises:
        BadInput: it was left out, or is none that we know.
    """
    name = _DIRECTION_NAMES.get(number)
    if name is None:
        raise BadInput(f"the direction is one of {', '.join(_DIRECTIONS)}", param="direction")
    return name


def action_proto(action: Action) -> pb.Action:
    """An action on the wire."""
    return _ACTIONS[action]


def findings_proto(findings: Iterable[Finding]) -> list[pb.Finding]:
    """Findings on the wire."""
    return [
        pb.Finding(
            check=finding.check,
            kind=finding.kind,
            start=finding.start,
            end=finding.end,
            score=finding.score,
            action=action_proto(finding.action),
        )
        for finding in findings
    ]


def policy_proto(name: str, policy: Policy) -> pb.Policy:
    """A policy and its checks on the wire."""
    return pb.Policy(
        name=name,
        checks=[
            pb.PolicyCheck(
                direction=_DIRECTIONS[check.direction],
                check=check.check,
                action=action_proto(check.action),
                tier=check.tier,
            )
            for check in policy.checks
        ],
    )
