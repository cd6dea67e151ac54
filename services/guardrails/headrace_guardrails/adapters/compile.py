"""Makes a policy that can be applied of its section of the config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, cast

from headrace_detectors import Action, BadCheck, compile_policy
from headrace_guardrails.ports import CheckInfo, Costly, Judge, Policy
from headrace_kit.config import guardrails as config
from headrace_kit.errors import BadInput

Make = Callable[[Any, str], Judge]
"""Makes the judge of a check of tier 2 or 3 for a direction. Raises BadInput."""

_LEAVES = frozenset({"moderation", "judge"})
_WHOLE = frozenset({"json_schema"})


class PolicyCompiler:
    """Fulfils `Compiler`.

    Args:
        makers: for each check of tier 2 and 3, what makes its judge.
    """

    def __init__(self, makers: Mapping[str, Make]) -> None:
        self._makers = makers

    def __call__(self, section: config.Policy) -> Policy:
        """See `Compiler`."""
        try:
            tier_1 = compile_policy(section.tier_1)
        except BadCheck as error:
            raise BadInput(error.message, param=error.path) from error
        costly: dict[str, Sequence[Costly]] = {}
        for direction, checks in section.by_direction.items():
            costly[direction] = [
                self._costly(cast(config.Costly, check), direction, number)
                for number, check in enumerate(checks)
                if config.tier_of(check.check) > 1
            ]
        infos = [_info(direction, check) for direction, checks in section.by_direction.items() for check in checks]
        return Policy(
            tier_1.checkers,
            tuple(infos),
            costly,
            version_of(section),
            section.shadow,
            section.rewrite,
            section.window_chars,
        )

    def _costly(self, check: Any, direction: str, number: int) -> Costly:
        maker = self._makers.get(check.check)
        if maker is None:
            raise BadInput(f"{check.check} cannot be run by this service", param=f"{direction}[{number}].check")
        try:
            judge = maker(check, direction)
        except BadInput as error:
            place = f"{direction}[{number}]" + (f".{error.param}" if error.param else "")
            raise BadInput(error.message, param=place) from error
        return Costly(
            name=check.check,
            tier=config.tier_of(check.check),
            judge=judge,
            timeout_s=check.timeout_ms / 1000,
            closed=check.on_failure == "closed",
            action=Action(check.action),
            masked=check.check in _LEAVES,
            trail=check.output == "trail" and direction == "output",
            whole=check.check in _WHOLE,
        )


def version_of(section: config.Policy) -> str:
    """A policy's version: the name that it was given, `@`, and a digest of all that it says."""
    return f"{section.version}@{sha256(section.model_dump_json().encode()).hexdigest()[:12]}"


def _info(direction: str, check: Any) -> CheckInfo:
    costly = config.tier_of(check.check) > 1
    return CheckInfo(
        direction,
        check.check,
        Action(check.action),
        config.tier_of(check.check),
        threshold=getattr(check, "threshold", None) or 0,
        timeout_ms=check.timeout_ms if costly else 0,
        closed=check.on_failure == "closed" if costly else True,
    )
