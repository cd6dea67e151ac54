"""What a servicer method knows about the call that it serves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from headrace_kit.errors import Forbidden


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: a signed statement of the service that called, about the caller it acts for.

    `tenant` is empty when a service acts for itself.
    """

    service: str
    tenant: str = ""
    key_id: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()

    def require(self, scope: str) -> None:
        """Raises Forbidden unless the identity has `scope`."""
        if scope not in self.scopes:
            raise Forbidden(f"this needs a key with the scope {scope!r}")


@dataclass(frozen=True, slots=True)
class Call:
    """One call being served.

    `identity` is None only for public methods, which check API keys themselves.
    `deadline` is on the clock of `time.monotonic`, or None.
    """

    method: str
    request_id: str
    identity: Identity | None
    deadline: float | None
    config_hash: str
    traceparent: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def caller(self) -> Identity:
        """The identity of a method that is not public."""
        if self.identity is None:
            raise AssertionError(f"{self.method} is public: it has no signed identity")
        return self.identity

    def remaining_s(self) -> float | None:
        """Seconds until the deadline, at least 0, or None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


current_call: ContextVar[Call | None] = ContextVar("headrace_call", default=None)
"""The call that this task serves; logs take their ids from it."""
