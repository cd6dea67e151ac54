"""What guardrails found that keeps a request on internal deployments."""

from __future__ import annotations

from collections.abc import Iterable

from headrace_gateway.guarding.input import Guard
from headrace_gateway.guarding.policy import GuardPolicy
from headrace_gateway.outcome import GuardFinding


def sensitive(guard: Guard) -> str:
    """The findings in what goes in that any of the policies lists as internal only; empty: none.

    A passage that was blocked is left out of the prompt, so what was found in it does not count.
    """
    if not guard.found:
        return ""
    wanted = _wanted(guard.policies)
    return ", ".join(sorted({_name(found) for found in guard.found if _counts(found, wanted)})) if wanted else ""


def _wanted(policies: Iterable[GuardPolicy]) -> frozenset[str]:
    return frozenset[str]().union(*(policy.internal_only for policy in policies))


def _counts(found: GuardFinding, wanted: frozenset[str]) -> bool:
    if found.shadow:
        return False
    left_out = found.direction == "retrieved" and found.action == "block"
    return found.direction != "output" and not left_out and (found.check in wanted or _name(found) in wanted)


def _name(found: GuardFinding) -> str:
    return f"{found.check}.{found.kind}"
