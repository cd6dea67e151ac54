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
    REWRITE = "rewrite"
    ESCALATE = "escalate"
    BLOCK = "block"

    @property
    def severity(self) -> int:
        """0 for `allow`, up to 5 for `block`: of several actions the most severe holds."""
        return _ORDER[self]

    @property
    def withholds(self) -> bool:
        """Whether the text stays here: blocked, given to a person, or replaced by other words."""
        return self.severity >= _ORDER[Action.REWRITE]


_ORDER = {action: place for place, action in enumerate(Action)}


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
class Extra:
    """What another check found in a text, to be handled with the checker's own findings.

    `identity` is what is equal for equal values, so that they get the same placeholder; empty: the text itself.
    """

    finding: Finding
    identity: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """The outcome for a whole text.

    Attributes:
        action: the most severe action of all findings; `allow` when there are none.
        text: the text as it may go on: masked where a check masks, empty when it is withheld.
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
