"""What the domain needs from whatever looks at texts.

`Action`, `Finding` and `Verdict` are those of `headrace_detectors`: the gateway runs the same tier-1 checks in its own
process, and both must say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from headrace_detectors import Action, Finding, Verdict


class ScreenStream(Protocol):
    """One text that arrives in pieces. Used by one task, and dropped without ceremony."""

    @property
    def action(self) -> Action:
        """The most severe action so far."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings so far, by position; grows at its end only."""

    def feed(self, delta: str) -> str:
        """Take a piece; returns what may go out now. Empty once blocked."""

    def finish(self, delta: str = "") -> str:
        """Take the last piece; returns the rest. Empty once blocked."""


class Screen(Protocol):
    """The checks of one direction of a policy. Safe to use from several threads."""

    def check(self, text: str) -> Verdict:
        """Judge a whole text. Takes CPU for about 0.1 to 2 ms per 2,000 characters."""

    def stream(self) -> ScreenStream:
        """Begin to judge a text that arrives in pieces; the outcome is that of `check`."""


@dataclass(frozen=True, slots=True)
class CheckInfo:
    """One check of a policy, for a listing. `tier` is 1, 2 or 3, by cost."""

    direction: str
    check: str
    action: Action
    tier: int


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that can be applied. `screens` has every direction."""

    screens: Mapping[str, Screen]
    checks: tuple[CheckInfo, ...]


class Compiler(Protocol):
    """Makes a policy of its section of the config."""

    def __call__(self, section: Mapping[str, object]) -> Policy:
        """Compile `section`: direction to list of checks, as plain mappings.

        Raises:
            BadInput: a check cannot be built; `param` names the setting, from the direction down.
        """
