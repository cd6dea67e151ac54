"""A policy: a checker for each direction that a text can go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from headrace_detectors.checker import Checker, compile_checks
from headrace_detectors.errors import BadCheck
from headrace_detectors.specs import CheckSpec, nearest, read_spec

DIRECTIONS = ("input", "retrieved", "tool_call", "tool_result", "output")
"""Where a text can be on its way: from the caller, from a document, to a tool, from a tool, to the caller."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Checks by direction.

    Attributes:
        specs: the checks as they were written, in their order; every direction is there.
        checkers: the same, compiled.
    """

    specs: Mapping[str, tuple[CheckSpec, ...]]
    checkers: Mapping[str, Checker]


def compile_policy(section: Mapping[str, Any]) -> Policy:
    """A policy from its config section, for example `{"input": [{"check": "pii", "action": "mask"}]}`.

    Args:
        section: direction to list of checks, as plain mappings (`model_dump()` of the typed config gives that).

    Raises:
        BadCheck: an unknown direction, check or setting, or one that cannot be built; its path begins at the
            direction, for example `output[0].patterns.ticket`.
    """
    for direction in section:
        if direction not in DIRECTIONS:
            raise BadCheck(f"no such direction: {direction!r}{nearest(direction, DIRECTIONS)}", path=direction)
    specs: dict[str, tuple[CheckSpec, ...]] = {}
    checkers: dict[str, Checker] = {}
    for direction in DIRECTIONS:
        try:
            specs[direction] = _read(section.get(direction, ()))
            checkers[direction] = _same(specs, checkers, direction) or compile_checks(specs[direction])
        except BadCheck as exc:
            raise exc.under(direction) from exc
    return Policy(MappingProxyType(specs), MappingProxyType(checkers))


def _same(
    specs: Mapping[str, tuple[CheckSpec, ...]], checkers: Mapping[str, Checker], direction: str
) -> Checker | None:
    """The checker of another direction that checks the same: its automata need not be built twice."""
    return next((checkers[other] for other in checkers if specs[other] == specs[direction]), None)


def _read(section: Any) -> tuple[CheckSpec, ...]:
    specs = []
    for index, settings in enumerate(section):
        try:
            specs.append(read_spec(settings))
        except BadCheck as exc:
            raise exc.under(f"[{index}]") from exc
    return tuple(specs)
