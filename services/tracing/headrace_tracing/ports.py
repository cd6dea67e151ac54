"""What tracing needs from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace_tracing.domain.asks import Ask
from headrace_tracing.domain.filters import TraceFilter
from headrace_tracing.domain.measures import Measured, Session
from headrace_tracing.domain.profiles import Profile
from headrace_tracing.domain.sampled import Asked, Question
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


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of some traces: how many by outcome, and how many spans were deleted."""

    outcomes: Mapping[str, int] = field(default_factory=dict)
    spans: int = 0

    @property
    def traces(self) -> int:
        """How many traces were decided about."""
        return sum(self.outcomes.values())


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

    async def add_feedback(self, feedback: Feedback) -> bool:
        """Store feedback and count it into its trace's summary; False, and nothing, where there is one of its id."""

    async def save(self, trace_id: str, tenant: str | None) -> None:
        """Keep the spans of a trace, a tenant's or with None all, that are there still."""

    async def settle(self, outcome: Callable[[Sequence[Summary]], str], quiet_s: float, limit: int) -> Settled:
        """Decide about at most `limit` traces that got no span for `quiet_s` and were not decided about since.

        `outcome` is given all summaries of one trace. Where it says `thinned`, the spans, contents and words of the
        trace are deleted and its summary stays; a span that is sent again then is known as one that was there. A trace
        that gets a new span is decided about again.
        """

    async def erase(self, tenant: str, user: str) -> tuple[int, int]:
        """Delete a tenant's traces with all that belongs to them; with `user`, a digest, those of one user and what he
        said of others. Returns how many traces and how many entries of feedback on others' traces that was."""

    async def drop_days_before(self, day: int, *, sealed_before: int) -> int:
        """Delete all traces that belong to days before `day`, and sealed contents of days before `sealed_before`.

        Returns how many traces were deleted; call it again until it is none.
        """


class AskStore(Protocol):
    """What was asked, by whom. Raises as `TraceStore`."""

    async def asks(self, from_ns: int, since_s: float) -> list[Ask]:
        """Requests with a question that began at `from_ns` or later, by who asked and their start: of those alone who
        asked more than once, and of whom something came in since `since_s`, seconds since 1970."""


class ProfileStore(Protocol):
    """Profiles of days. Days count from 1970 (UTC). Raises as `TraceStore`."""

    async def unprofiled(self, today: int) -> list[int]:
        """Days before `today` that have traces and no profiles, or none that are final though they could be."""

    async def make_profiles(self, day: int, *, final: bool) -> None:
        """Count a day's traces into profiles, in the place of what was counted before. `final`: for the last time."""

    async def profiles(self, tenant: str | None, first: int, last: int) -> list[Profile]:
        """Profiles of days, first and last included, those over topics among them: a tenant's, or with None all."""

    async def drop_profiles_before(self, day: int) -> None:
        """Delete the profiles of days before `day`."""


class TopicStore(Protocol):
    """What topics are learned from, and what came of it. Days count from 1970 (UTC). Raises as `TraceStore`.

    `version` names what embeds, with all that its vectors depend on.
    """

    async def claim_topics(self, day: int, version: str) -> bool:
        """Whether the topics for the look at a day are to be learned by this process now: they were not yet, and no
        other process is at it. It is to be at it again and again, or the claim lapses."""

    async def free_topics(self, day: int) -> None:
        """Give a claim back: it did not work, and may be tried again at once."""

    async def end_topics(self, day: int) -> None:
        """The topics for a day are learned and counted."""

    async def unembedded(self, day: int, version: str, sample: int, most: int) -> list[Asked]:
        """Questions of a day's sample that have no vector yet, by tenant and model: of each of these `sample` at most,
        `most` in all, taken evenly. Whatever came in meanwhile, the sample of what was there is the same."""

    async def keep_vectors(self, day: int, version: str, vectors: Sequence[tuple[Asked, bytes]]) -> None:
        """Keep vectors, float16, as long as their traces are kept."""

    async def embedded(self, first: int, last: int, version: str) -> list[tuple[str, str]]:
        """Tenants and models that have vectors of these days."""

    async def questions(self, tenant: str, model: str, first: int, last: int, version: str) -> list[Question]:
        """Questions to a model with their vectors, within bounds."""

    async def save_topics(self, learned: int, tenant: str, model: str, profiles: Sequence[Profile]) -> None:
        """Keep the counts over a model's topics, in the place of those that were learned for the same day."""


class Embedder(Protocol):
    """An embedding model."""

    async def embed(self, deployment: str, texts: Sequence[str], tenant: str) -> list[bytes]:
        """A vector a text: float16, little-endian, of length 1. Texts that are too long are cut.

        Raises:
            BadInput: a text that cannot be embedded.
            HeadraceError: the model is away or busy; never NotReady.
        """


class NoRoom(Exception):
    """A batch cannot be kept on disk; its argument is the reason for metrics: `buffer_full` or `disk`."""


class Unreadable(Exception):
    """What was kept is gone or damaged."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A batch on disk: its file's name, how many spans are in it, and its bytes."""

    name: str
    spans: int
    size_bytes: int


class Spool(Protocol):
    """Batches on disk. What `keep` has returned from is there after a kill or a loss of power. All may block."""

    def open(self) -> list[Kept]:
        """Begin, and take over what processes that are gone have left, oldest first. Raises OSError."""

    def adopt(self) -> list[Kept]:
        """What processes that have gone since have left."""

    def keep(self, spans: Sequence[Span]) -> Kept:
        """Keep a batch. Thread-safe.

        Raises:
            NoRoom: it would be too much, or the disk is full or broken; nothing of it was kept.
        """

    def read(self, kept: Kept) -> list[Span]:
        """A batch. Raises Unreadable."""

    def drop(self, kept: Kept) -> None:
        """Forget a batch, which is stored now."""

    def close(self) -> None:
        """End; what is kept stays for the next process."""


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
