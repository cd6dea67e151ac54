"""What a check is made of: patterns, and a second look at what they match."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace_detectors._views import View
from headrace_detectors.findings import Action


@dataclass(frozen=True, slots=True, repr=False)
class Candidate:
    """A match that waits to be accepted.

    Attributes:
        value: what matched.
        before: the character before it, empty at the start of the text.
        after: the character after it, empty at the end of the text.
    """

    value: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A candidate that is one, or the first `length` characters of it are.

    A score of 0 says that it is none, and nothing within it either: the search goes on behind it.
    """

    score: float
    length: int


Accept = Callable[[Candidate], Accepted | None]
"""A second look: a checksum, a length, what stands next to it.

It must go by the candidate alone: that it sees no more than one character around it is what keeps streams exact.
"""


def always(candidate: Candidate) -> Accepted | None:
    """Accept every match as it is, without a doubt."""
    return Accepted(1.0, len(candidate.value))


def as_is(value: str) -> str:
    """A value that is the same only when written the same."""
    return value


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of thing to find.

    Attributes:
        kind: name of what it finds.
        regex: RE2 syntax, written for `view`.
        view: the rendering of the text that is searched.
        accept: the second look.
        group: the part of the match that is the value; 0 is all of it.
        identity: from a value to what is equal for equal values, however they are written.
        removable: a mask leaves it out instead of naming it.
    """

    kind: str
    regex: str
    view: View = View.PLAIN
    accept: Accept = always
    group: int = 0
    identity: Callable[[str], str] = as_is
    removable: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern, as one check of a policy uses it."""

    check: str
    pattern: Pattern
    action: Action
    threshold: float
