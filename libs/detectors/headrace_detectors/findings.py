"""What a check reports: findings and the verdict made of them. Neither holds a value that was found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What happens to a text; `severity` orders them."""

    ALLOW = "allow"
    FLAG = "flag"
    MASK = "mask"
    BLOCK = "block"

    @property
    def severity(self) -> int:
        """0 for `allow`, up to 3 for `block`: of several actions the most severe holds."""
        return _ORDER[self]


_ORDER = {Action.ALLOW: 0, Action.FLAG: 1, Action.MASK: 2, Action.BLOCK: 3}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found, and where; never the thing itself.

    Attributes:
        check: name of the check, for example `pii`.
        kind: what it is, for example `email`.
        start: first code point, counted in the original text.
        end: one past the last code point.
        score: confidence, 0 to 1.
        action: what the check does about it.
    """

    check: str
    kind: str
    start: int
    end: int
    score: float
    action: Action


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """The outcome for a whole text.

    Attributes:
        action: the most severe action of all findings; `allow` when there are none.
        text: the text as it may go on: masked where a check masks, empty when blocked.
        findings: by position.
    """

    action: Action
    text: str
    findings: tuple[Finding, ...]

    def __repr__(self) -> str:
        return f"Verdict(action={self.action.value!r}, chars={len(self.text)}, findings={self.findings!r})"


def most_severe(findings: Iterable[Finding], so_far: Action) -> Action:
    """The action that holds when these were found besides what led to `so_far`."""
    return max((so_far, *(finding.action for finding in findings)), key=lambda action: action.severity)
