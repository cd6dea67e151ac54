"""The things that retrieval keeps and finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from headrace_retrieval.domain.metadata import Filter
from headrace_retrieval.domain.ordering import Freshness
from headrace_retrieval.domain.rewriting import Rewrite
from headrace_retrieval.domain.rights import Acl
from headrace_retrieval.domain.spending import NOTHING, Tokens


class Mode(StrEnum):
    """How to search."""

    HYBRID = "hybrid"
    BM25 = "bm25"
    VECTOR = "vector"


DOCUMENTS, MEMORY = "documents", "memory"
"""Kinds of collections: what a team shares, and what is kept of people, each for oneself."""


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """How documents are cut and embedded."""

    embedding: str
    max_tokens: int
    overlap_tokens: int


@dataclass(frozen=True, slots=True)
class IndexVersion:
    """An index version that exists: the active one, or the one that is being built. `job` builds or built it."""

    spec: IndexSpec
    building: bool
    job: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """What is wanted of a collection. `kind` stays as it was made."""

    tenant: str
    name: str
    acl_required: bool
    shared_with: tuple[str, ...]
    index: IndexSpec
    kind: str = DOCUMENTS


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection that exists.

    `index_id` names its active index version. `dimensions` is None until the first passage is embedded. `mean` is the
    mean of its vectors (float32, little-endian), None until there is one.
    """

    id: UUID
    spec: CollectionSpec
    source: str
    epoch: int
    created_at: datetime
    index_id: int
    dimensions: int | None = None
    mean: bytes | None = None


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document as it was sent, checked. `acl` None: it came without one.

    `page_starts` says where each page starts in `text`; empty: it has no pages. `person` is whose fact it is, empty in
    other collections than memories; from `expires_at` on it is not found.
    """

    id: str
    text: str
    title: str
    content_type: str
    metadata: Mapping[str, Any]
    filter_terms: tuple[str, ...]
    acl: Acl | None
    content_hash: bytes
    page_starts: tuple[int, ...] = ()
    person: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it is kept. `text` is what spans point into."""

    id: str
    text: str
    title: str
    content_type: str
    metadata: Mapping[str, Any]
    acl: Acl | None
    page_starts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A document without its text. `characters` are code points."""

    id: str
    title: str
    metadata: Mapping[str, Any]
    acl: Acl | None
    characters: int
    chunks: int
    searchable: bool
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """How far an ingestion, or the building of an index version, is.

    `state` is `queued`, `running`, `done` or `failed` (at least one document failed); `kind` is `ingest` or `reindex`.
    """

    id: UUID
    collection: str
    state: str
    documents: int
    done: int
    errors: tuple[tuple[str, str], ...]
    kind: str
    failed: int
    created_at: datetime

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ("done", "failed")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A document that was given up. `building`: it is missing in an index version that is being built."""

    item: int
    job: UUID
    document_id: str
    reason: str
    attempts: int
    failed_at: datetime
    building: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A checked search. `collections` are names; `top_k` is how many passages are wanted.

    `diversity` from 0 to 1 puts back what is like something better, see `varied`; `freshness` what is old.
    `window` and `section` bring what stands around a passage, see `Wider`.
    """

    collections: tuple[str, ...]
    text: str
    top_k: int
    mode: Mode
    rerank: bool
    filter: Filter = ()
    diversity: float = 0.0
    freshness: Freshness | None = None
    window: int = 0
    section: bool = False
    rewrite: Rewrite = field(default_factory=Rewrite)


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that the caller may read. `start` and `end` are code points into the document's stored text.

    `page` is that of its first character; `page_breaks` says where further pages start within it.
    """

    chunk_id: UUID
    collection_id: UUID
    document_id: str
    title: str
    headings: tuple[str, ...]
    text: str
    start: int
    end: int
    page: int | None
    metadata: Mapping[str, Any]
    page_breaks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found. `collection` is the name it was asked by; `scores` are by stage."""

    passage: Passage
    collection: str
    score: float
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, best first, and the epoch of each collection that was read.

    `degraded` names the stages that were left out because a part was away: `rewrite`, `vector`, `rerank`. `queries` is
    what was searched for, where the query was rewritten, and `rewriting` what that took.
    """

    hits: tuple[Hit, ...]
    epochs: Mapping[str, int]
    degraded: frozenset[str] = field(default_factory=frozenset)
    queries: tuple[str, ...] = ()
    rewriting: Tokens = NOTHING
