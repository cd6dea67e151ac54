"""Collections, documents and passages."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

Mode = Literal["hybrid", "bm25", "vector"]
"""BM25 and vectors fused, or one of them."""

CollectionKind = Literal["documents", "memory"]
AclMode = Literal["required", "none"]
"""`required`: each document says who may read it; `none`: everyone with the team's keys."""


class Span(Struct, frozen=True):
    """Unicode code points into a document's stored text; `end` is exclusive."""

    start: int
    end: int


class Acl(Struct, omit_defaults=True):
    """Who may read a document. Empty: nobody but keys with the scope `read_all`."""

    users: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    public: bool = False


class Document(Struct, omit_defaults=True):
    """A document to store: plain text or Markdown, at most 10 MiB. `id` is yours, unique within the collection."""

    id: str
    text: str
    title: str | None = None
    metadata: dict[str, Any] | None = None
    acl: Acl | None = None
    content_type: str | None = None
    page_starts: list[int] = field(default_factory=list)
    """Where each page starts in the text, in code points. Comes with a stored document, and is not sent."""


class DocumentInfo(Struct):
    """A stored document without its text."""

    id: str
    title: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    characters: int = 0
    chunks: int = 0
    searchable: bool = False
    updated_at: str | None = None


class Collection(Struct):
    """A place for documents."""

    name: str
    tenant: str = ""
    embedding: str = ""
    acl: str = ""
    shared_with: list[str] = field(default_factory=list)
    epoch: int = 0
    created_at: str | None = None
    kind: str = "documents"


class IngestJob(Struct):
    """Documents that are on disk and will be searchable, whatever crashes."""

    job: str
    accepted: int


JobState = Literal["queued", "running", "done", "failed"]
"""`failed`: at least one document was given up."""


class JobError(Struct):
    """A document that could not be indexed, and why."""

    document_id: str
    message: str


class Job(Struct):
    """How far an ingestion (`kind` is `ingest`), or the building of an index version (`reindex`), is."""

    id: str
    collection: str = ""
    kind: str = "ingest"
    state: str = ""
    documents: int = 0
    done: int = 0
    failed: int = 0
    created_at: str | None = None
    errors: list[JobError] = field(default_factory=list)


class IndexVersion(Struct):
    """A way in which a collection is cut and embedded: `active`, or `building`, with the job that does it."""

    embedding: str
    max_tokens: int
    overlap_tokens: int
    state: str
    job: Job | None = None
    created_at: str | None = None


class DeadLetter(Struct):
    """A document that was given up. `building`: it is missing in an index version that is being built."""

    id: str
    document_id: str
    reason: str
    job: str = ""
    attempts: int = 0
    failed_at: str | None = None
    building: bool = False


class Source(Struct):
    """Where a collection's documents come from by themselves, and how the last synchronisation went.

    `state` is `idle` (never asked), `queued`, `running`, `done` or `failed`; the counts are of documents.
    """

    name: str
    kind: str = ""
    every_s: float = 0.0
    state: str = ""
    run: int = 0
    started_at: str | None = None
    finished_at: str | None = None
    error: str = ""
    seen: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    refused: int = 0


class Refusal(Struct):
    """An entry of a source that is no document, or whose newest content is none."""

    key: str
    reason: str


class Passage(Struct):
    """A part of a document that answers a query. `scores` by stage only with `explain`."""

    document_id: str
    span: Span
    text: str = ""
    collection: str = ""
    chunk_id: str = ""
    title: str | None = None
    score: float = 0.0
    page: int | None = None
    page_breaks: list[int] = field(default_factory=list)
    """Where further pages start within it, in code points of the stored text."""

    metadata: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] | None = None


class Turn(Struct, frozen=True):
    """Something that was said before a query."""

    role: Literal["user", "assistant"]
    text: str


class Rewrite(Struct, frozen=True, omit_defaults=True):
    """How a model rewrites a query before it is searched for; the query is searched for too.

    `condense` makes it stand by itself with what was said in `turns`, `wordings` (0 to 5) asks in so many other words
    as well, `hypothetical` searches for the vector of a made-up answer as well.
    """

    condense: bool = False
    wordings: int = 0
    hypothetical: bool = False
    turns: tuple[Turn, ...] = ()


class Freshness(Struct, frozen=True):
    """Scores halve with each `half_life_days` of the age that a metadata field says, a day or an RFC 3339 time."""

    field: str
    half_life_days: float
