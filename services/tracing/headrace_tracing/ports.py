"""What tracing needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_tracing.domain.spans import Feedback, Span, Summary


class StoreRefused(Exception):
    """The store will never take this batch as it is: some value in it is at fault, not the store."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the list of traces, which is ordered by start, trace id and tenant, all falling."""

    start_ns: int
    trace_id: str
    tenant: str


@dataclass(frozen=True, slots=True)
class TraceFilter:
    """Which traces are wanted. None and empty strings do not restrict; `to_ns` is exclusive."""

    tenant: str | None
    limit: int
    from_ns: int | None = None
    to_ns: int | None = None
    model: str = ""
    status: str = ""
    after: Position | None = None


class TraceStore(Protocol):
    """The record of traces. Every method raises `headrace_kit.errors.NotReady` while the store is away."""

    async def write(self, spans: Sequence[Span]) -> int:
        """Store spans and count them into their traces' summaries, in one transaction; returns how many were new.

        A span that is stored already, by trace and span id, changes nothing.

        Raises:
            StoreRefused: a value cannot be stored; nothing of the batch was.
        """

    async def summaries(self, trace_id: str) -> list[Summary]:
        """The summaries of a trace, one per tenant that has spans in it; the empty tenant is for spans without."""

    async def spans(self, trace_id: str, tenant: str | None, limit: int) -> list[Span]:
        """The first `limit` spans of a trace, by start: a tenant's and those without one, or with None all."""

    async def traces(self, wanted: TraceFilter) -> list[Summary]:
        """At most `wanted.limit` summaries, newest first, after the position `wanted.after`."""

    async def feedback(self, trace_id: str) -> list[Feedback]:
        """What was said about a trace, oldest first, of all tenants."""

    async def add_feedback(self, feedback: Feedback) -> None:
        """Store feedback."""

    async def delete_older_than(self, age_s: float, limit: int) -> int:
        """Delete at most `limit` traces that have had no new span for `age_s`; returns how many it was."""


class Redactor(Protocol):
    """Finds personal data and secrets in texts."""

    def redact(self, text: str) -> str:
        """The text with a placeholder in the place of everything found. Thread-safe."""
