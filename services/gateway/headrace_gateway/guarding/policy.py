"""A guardrail policy of the config, compiled for tier-1 checks in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import headrace_detectors as detectors
from headrace_kit.config.guardrails import Costly, Policy, tier_of


@dataclass(frozen=True, slots=True)
class RemoteChecks:
    """What of a direction the guardrails service judges.

    `timeout_s` is the longest that its checks take together. `closed`: without its verdict nothing passes.
    `trail`: on an answer that streams, text need not wait for it. `whole`: it can only judge a whole text.
    """

    timeout_s: float
    closed: bool
    trail: bool
    whole: bool


@dataclass(frozen=True, slots=True, eq=False)
class GuardPolicy:
    """The checkers of one policy by direction; None where nothing is checked.

    `rewrites_output` tells whether an answer's text may come out changed. `internal_only` names the findings, as
    `check` or `check.kind`, that keep a request on internal deployments. `remote` has the directions that the
    guardrails service judges too.
    """

    name: str
    input: detectors.Checker | None
    retrieved: detectors.Checker | None
    tool_call: detectors.Checker | None
    tool_result: detectors.Checker | None
    output: detectors.Checker | None
    rewrites_output: bool
    internal_only: frozenset[str] = frozenset()
    version: str = ""
    shadow: bool = False
    rewrite: str = ""
    unmask: bool = False
    spotlight: bool = False
    window_chars: int = 400
    remote: Mapping[str, RemoteChecks] = field(default_factory=dict)

    def looks_at(self, direction: str) -> bool:
        """Whether anything is checked in a direction."""
        return getattr(self, direction) is not None or direction in self.remote


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
        rewrites_output=not policy.shadow and any(check.action != "flag" for check in policy.output),
        internal_only=frozenset(policy.internal_only),
        version=f"{policy.version}@{sha256(policy.model_dump_json().encode()).hexdigest()[:12]}",
        shadow=policy.shadow,
        rewrite=policy.rewrite,
        unmask=policy.unmask,
        spotlight=policy.spotlight and bool(policy.tool_result),
        window_chars=policy.window_chars,
        remote=_remote(policy),
    )


def _remote(policy: Policy) -> dict[str, RemoteChecks]:
    found = {}
    for direction, checks in policy.by_direction.items():
        costly = [check for check in checks if isinstance(check, Costly)]
        if not costly:
            continue
        # Checks of a tier run at the same time, tiers one after the other.
        by_tier: dict[int, int] = {}
        for check in costly:
            tier = tier_of(check.check)
            by_tier[tier] = max(by_tier.get(tier, 0), check.timeout_ms)
        found[direction] = RemoteChecks(
            timeout_s=sum(by_tier.values()) / 1000 + _MARGIN_S,
            closed=any(check.on_failure == "closed" for check in costly),
            trail=direction == "output" and all(check.output == "trail" for check in costly),
            whole=any(check.check == "json_schema" for check in costly),
        )
    return found


_MARGIN_S = 1.0
"""What a call to the guardrails service may take besides its checks."""
