"""What tracing needs from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_tracing.domain.filters import TraceFilter
from headrace_tracing.domain.measures import Measured, Session
from headrace_tracing.domain.spans import Feedback, Span, Summary


class StoreRefused(Exception):
    """The store will never take this batch as it is: some value in it is at fault, not the store."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the list of traces, which is ordered by start, trace id and tenant, all falling.

    In the list of sessions: the start of the last trace, and the session in the place of the trace id.
    """

    start_ns: int
    trace_id: str
    tenant: str


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
        """The first `limit` spans of a trace with their contents, by start: a tenant's and those without one, or with
        None all."""

    async def traces(self, wanted: TraceFilter, limit: int, after: Position | None = None) -> list[Summary]:
        """At most `limit` summaries, newest first, after the position `after`."""

    async def sessions(self, wanted: TraceFilter, limit: int, after: Position | None = None) -> list[Session]:
        """At most `limit` sessions, by their last trace, newest first, after the position `after`."""

    async def measure(
        self, wanted: TraceFilter, group_by: Sequence[str] = (), bucket_s: int = 0, limit: int = 1
    ) -> list[Measured]:
        """Sums over the traces that a filter means, by dimensions and time buckets; at most `limit`."""

    async def feedback(self, trace_id: str) -> list[Feedback]:
        """What was said about a trace, oldest first, of all tenants."""

    async def add_feedback(self, feedback: Feedback) -> None:
        """Store feedback and count it into its trace's summary."""

    async def erase(self, tenant: str, user: str) -> tuple[int, int]:
        """Delete a tenant's traces with all that belongs to them; with `user`, a digest, those of one user and what he
        said of others. Returns how many traces and how many entries of feedback on others' traces that was."""

    async def drop_days_before(self, day: int, *, sealed_before: int) -> int:
        """Delete all traces that belong to days before `day`, and sealed contents of days before `sealed_before`.

        Returns how many traces were deleted; call it again until it is none.
        """


class Redactor(Protocol):
    """Finds personal data and secrets in texts."""

    def redact(self, text: str) -> str:
        """The text with a placeholder in the place of everything found. Thread-safe."""


class Vault(Protocol):
    """Keyed digests and encryption. Thread-safe."""

    @property
    def lasting(self) -> bool:
        """Whether the key outlives this process, so that what is sealed can be opened later."""

    def digest(self, tenant: str, value: str) -> str:
        """What stands for a value: the same for the same value of the same tenant, and no way back."""

    def seal(self, content: bytes, place: bytes) -> bytes:
        """Content encrypted, bound to its place."""

    def unseal(self, sealed: bytes, place: bytes) -> bytes | None:
        """What `seal` was given; None when the key or the place is another one."""


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file of the console, ready to be sent. `gzipped` is empty where packing it saves nothing."""

    path: str
    body: bytes
    content_type: str
    etag: str
    gzipped: bytes


class Web(Protocol):
    """The built console."""

    async def files(self) -> Mapping[str, WebFile]:
        """All files, by path; none where it was not built."""
        ...
