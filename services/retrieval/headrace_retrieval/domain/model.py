"""The things that retrieval keeps and finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from headrace_retrieval.domain.metadata import Filter
from headrace_retrieval.domain.rights import Acl


class Mode(StrEnum):
    """How to search."""

    HYBRID = "hybrid"
    BM25 = "bm25"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """How documents are cut and embedded."""

    embedding: str
    max_tokens: int
    overlap_tokens: int


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """What is wanted of a collection."""

    tenant: str
    name: str
    acl_required: bool
    shared_with: tuple[str, ...]
    index: IndexSpec


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection that exists.

    `index_id` names its active index version. `dimensions` is None until the first passage is embedded.
    """

    id: UUID
    spec: CollectionSpec
    source: str
    epoch: int
    created_at: datetime
    index_id: int
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document as it was sent, checked. `acl` None: it came without one.

    `page_starts` says where each page starts in `text`; empty: it has no pages.
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
    """How far an ingestion is. `state` is `queued`, `running`, `done` or `failed` (at least one document failed)."""

    id: UUID
    collection: str
    state: str
    documents: int
    done: int
    errors: tuple[tuple[str, str], ...]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ("done", "failed")


@dataclass(frozen=True, slots=True)
class Query:
    """A checked search. `collections` are names; `top_k` is how many passages are wanted."""

    collections: tuple[str, ...]
    text: str
    top_k: int
    mode: Mode
    rerank: bool
    filter: Filter = ()


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

    `degraded` names the stages that were left out because a part was away: `vector`, `rerank`.
    """

    hits: tuple[Hit, ...]
    epochs: Mapping[str, int]
    degraded: frozenset[str] = field(default_factory=frozenset)
