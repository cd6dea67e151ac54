"""A guardrail policy of the config, compiled for tier-1 checks in this process."""

from __future__ import annotations

from dataclasses import dataclass

import headrace_detectors as detectors
from headrace_kit.config.guardrails import Policy


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """The checkers of one policy by direction; None where nothing is checked.

    `rewrites_output` tells whether an answer's text may come out changed. `internal_only` names the findings, as
    `check` or `check.kind`, that keep a request on internal deployments.
    """

    name: str
    input: detectors.Checker | None
    retrieved: detectors.Checker | None
    tool_call: detectors.Checker | None
    tool_result: detectors.Checker | None
    output: detectors.Checker | None
    rewrites_output: bool
    internal_only: frozenset[str] = frozenset()


def compile_guard(name: str, policy: Policy) -> GuardPolicy:
    """Compile a policy.

    Raises:
        headrace_detectors.BadCheck: a check cannot be built.
    """
    checkers = detectors.compile_policy(policy.tier_1).checkers
    return GuardPolicy(
        name=name,
        input=checkers["input"] or None,
        retrieved=checkers["retrieved"] or None,
        tool_call=checkers["tool_call"] or None,
        tool_result=checkers["tool_result"] or None,
        output=checkers["output"] or None,
        rewrites_output=any(check.action != "flag" for check in policy.output),
        internal_only=frozenset(policy.internal_only),
    )
