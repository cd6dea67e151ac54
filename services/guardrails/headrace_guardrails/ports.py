"""What the domain needs from whatever looks at texts.

`Action`, `Finding` and `Verdict` are those of `headrace_detectors`: the gateway runs the same tier-1 checks in its own
process, and both must say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from headrace_detectors import Action, Extra, Finding, Session, Verdict
from headrace_kit.config.guardrails import Policy as PolicyConfig
from headrace_kit.rpc.client import Outbound


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose text it is and what it is, for the audit, the queue and calls to other services.

    `outbound` carries identity, deadline and trace to inference; None in tests that call nobody. `also` names other
    policies that the text has to pass before it goes on.
    """

    policy: str
    direction: str
    tenant: str = ""
    user: str = ""
    request_id: str = ""
    trace_id: str = ""
    conversation_id: str = ""
    context: str = ""
    also: tuple[str, ...] = ()
    outbound: Outbound | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A finding and the version of what found it; empty for tier 1, whose version is the policy's."""

    finding: Finding
    version: str = ""

    def plain(self) -> dict[str, Any]:
        """As plain values, for stores; it holds nothing of the text."""
        one = self.finding
        return {
            "check": one.check,
            "kind": one.kind,
            "start": one.start,
            "end": one.end,
            "score": round(one.score, 4),
            "action": one.action.value,
            "version": self.version,
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that gave no verdict: `timeout`, `unavailable`, `error` or `budget`; closed: the text does not pass."""

    check: str
    reason: str
    closed: bool


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
    """The tier-1 checks of one direction of a policy. Safe to use from several threads."""

    def check(self, text: str, session: Session | None = None, extra: Sequence[Extra] = ()) -> Verdict:
        """Judge a whole text. Takes CPU for about 0.1 to 2 ms per 2,000 characters.

        Args:
            text: any text.
            session: the conversation whose placeholders to go on with.
            extra: what other checks found in it: handled together with what is found here.
        """

    def stream(self, session: Session | None = None) -> ScreenStream:
        """Begin to judge a text that arrives in pieces; the outcome is that of `check`."""


class Judge(Protocol):
    """A check of tier 2 or 3: it may call another service, a worker or a model."""

    async def judge(self, text: str, subject: Subject) -> Sequence[Extra]:
        """What it finds in a text.

        Raises:
            Exception: it cannot tell; the policy says what happens then.
        """

    @property
    def version(self) -> str:
        """Which model or rules judge; may change when the check learns it."""


@dataclass(frozen=True, slots=True)
class Costly:
    """A check of tier 2 or 3 in a policy."""

    name: str
    tier: int
    judge: Judge
    timeout_s: float
    closed: bool
    action: Action
    masked: bool = False
    """It sees the text after tier 1's masks, because it leaves the house."""
    trail: bool = False
    """On a stream it looks at text that goes out meanwhile."""
    whole: bool = False
    """It can only judge a whole text: a stream is kept back to its end."""


@dataclass(frozen=True, slots=True)
class CheckInfo:
    """One check of a policy, for a listing. `tier` is 1, 2 or 3, by cost."""

    direction: str
    check: str
    action: Action
    tier: int
    threshold: float = 0
    timeout_ms: int = 0
    closed: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that can be applied. `screens` and `costly` have every direction."""

    screens: Mapping[str, Screen]
    checks: tuple[CheckInfo, ...]
    costly: Mapping[str, Sequence[Costly]] = field(default_factory=dict)
    version: str = ""
    shadow: bool = False
    rewrite: str = ""
    window_chars: int = 400


class Compiler(Protocol):
    """Makes a policy of its section of the config."""

    def __call__(self, section: PolicyConfig) -> Policy:
        """Compile a policy.

        Raises:
            BadInput: a check cannot be built; `param` names the setting, from the direction down.
        """
