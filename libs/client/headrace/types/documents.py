"""Collections, documents and passages."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

Mode = Literal["hybrid", "bm25", "vector"]
"""BM25 and vectors fused, or one of them."""

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


class IngestJob(Struct):
    """Documents that are on disk and will be searchable, whatever crashes."""

    job: str
    accepted: int


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
