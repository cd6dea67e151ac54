"""Tier 1: the checks of `headrace_detectors`."""

from __future__ import annotations

from collections.abc import Mapping

from headrace_detectors import BadCheck, compile_policy
from headrace_guardrails.ports import CheckInfo, Policy
from headrace_kit.errors import BadInput


def compile_tier_1(section: Mapping[str, object]) -> Policy:
    """A policy made of tier-1 checks.

    Raises:
        BadInput: a check cannot be built; `param` names the setting, from the direction down.
    """
    try:
        compiled = compile_policy(section)
    except BadCheck as error:
        raise BadInput(error.message, param=error.path) from error
    checks = tuple(
        CheckInfo(direction, spec.check, spec.action, tier=1)
        for direction, specs in compiled.specs.items()
        for spec in specs
    )
    return Policy(compiled.checkers, checks)
