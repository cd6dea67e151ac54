"""What the domain needs from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from headrace_retrieval.chunking.chunker import Piece
from headrace_retrieval.domain.metadata import Filter
from headrace_retrieval.domain.model import (
    Collection,
    CollectionSpec,
    DocumentInfo,
    IndexSpec,
    Job,
    NewDocument,
    Passage,
    StoredDocument,
)
from headrace_retrieval.domain.rights import Caller
from headrace_retrieval.parsing.parsed import Parsed


class Models(Protocol):
    """Embedding and reranking models."""

    async def embed(self, deployment: str, texts: Sequence[str], *, tenant: str, limit_s: float) -> list[bytes]:
        """A vector a text, in order: float32, little-endian, of length 1.

        A text that is too long is cut. `tenant` is for whom it is done when no call is being served.

        Raises:
            BadInput: a text cannot be embedded; a retry will not help.
            HeadraceError: the model cannot be reached, is busy, or did not answer within `limit_s`.
        """

    async def rerank(self, deployment: str, query: str, texts: Sequence[str], *, limit_s: float) -> list[float]:
        """A score a text, in order; higher is better. Raises HeadraceError."""


class Parser(Protocol):
    """Reads files."""

    async def parse(self, content: bytes, name: str, content_type: str) -> Parsed:
        """The text of a file; its format is told by its content, then its name, then `content_type`.

        Raises:
            Refused: it is locked, broken, too large, or of a kind that is not read.
        """


@dataclass(frozen=True, slots=True)
class IndexedPassage:
    """A passage as the lexical index takes it in."""

    chunk_id: UUID
    document_pk: int
    context: str
    readers: Sequence[str]
    filter_terms: Sequence[str]


class Lexical(Protocol):
    """BM25 over this replica's copy of the passages. It may be behind the record, so hits are read again there.

    An index version that was never loaded has no passages.
    """

    async def search(
        self, index_id: int, text: str, readers: frozenset[str] | None, wanted: Filter, limit: int
    ) -> list[tuple[UUID, float]]:
        """Passages that hold words of `text`, best first.

        Args:
            readers: tokens of which a passage must have one; None: all passages.
        """

    async def replace(self, index_id: int, documents: Set[int], passages: Sequence[IndexedPassage]) -> None:
        """Put `passages` in the place of whatever it has of `documents`, in one step for searches."""

    async def load(self, index_id: int, passages: AsyncIterator[Sequence[IndexedPassage]]) -> None:
        """Build an index version anew, beside the old one, which searches see until this returns."""

    async def drop(self, index_id: int) -> None:
        """Remove an index version."""

    def loaded(self) -> frozenset[int]:
        """Index versions that it has."""


class Replica(Protocol):
    """How this replica's lexical index stands to the record."""

    @property
    def ready(self) -> bool:
        """Whether it has held all that was in the record once."""

    async def caught_up(self) -> None:
        """Returns once searches show everything that was committed before this call. Raises NotReady."""


class CollectionStore(Protocol):
    """Collections in the record."""

    async def create(self, spec: CollectionSpec) -> Collection:
        """Make it, or return the one that is there under that tenant and name, whatever its settings."""

    async def named(self, caller: Caller, names: Sequence[str]) -> list[Collection]:
        """Collections with one of these names that the caller's tenant owns or shares."""

    async def visible(self, caller: Caller) -> list[Collection]:
        """All collections that the caller's tenant owns or shares, by tenant and name."""

    async def delete(self, collection: Collection) -> None:
        """Take it out of every search at once; its rows are removed in the background."""

    async def sync(self, wanted: Sequence[CollectionSpec]) -> None:
        """Make the config's collections what they should be.

        A new way of cutting or embedding builds a new index version beside the active one. One that the config no
        longer names keeps its documents and belongs to the API from then on.
        """


class DocumentStore(Protocol):
    """Documents and their jobs in the record. Each method is one transaction."""

    async def accept(self, tenant: str, collection: Collection, documents: Sequence[NewDocument]) -> UUID:
        """Store documents and a job that makes them searchable; returns the job."""

    async def get(self, caller: Caller, collection: Collection, document_id: str) -> StoredDocument | None:
        """The searchable version of a document, or the newest if none is searchable yet."""

    async def listed(self, caller: Caller, collection: Collection, after: str, limit: int) -> list[DocumentInfo]:
        """Documents with an id greater than `after`, by id."""

    async def delete(self, tenant: str, collection: Collection, document_id: str) -> bool:
        """Remove a document and all that was made of it; False when there is none."""

    async def job(self, tenant: str, job: UUID) -> Job | None:
        """A job of the tenant."""


class PassageView(Protocol):
    """Passages as one caller sees them, in one transaction."""

    async def nearest(
        self, index_ids: Sequence[int], vector: bytes, wanted: Filter, limit: int
    ) -> list[tuple[UUID, float]]:
        """Passages by cosine similarity to `vector`, most similar first."""

    async def read(self, index_ids: Sequence[int], chunk_ids: Sequence[UUID]) -> Mapping[UUID, Passage]:
        """Those of the passages that are there and that the caller may read."""


class PassageStore(Protocol):
    """Passages in the record."""

    def view(self, caller: Caller) -> AbstractAsyncContextManager[PassageView]:
        """Open a view; row-level security holds in it whatever a query says."""


@dataclass(frozen=True, slots=True)
class Task:
    """A revision to be put into an index version, leased to this worker.

    `attempt` is from 1; `failures` counts the attempts that failed because of the document itself.
    """

    item: int
    tenant: str
    collection_id: UUID
    document_id: str
    revision: int
    index_id: int
    attempt: int
    failures: int


@dataclass(frozen=True, slots=True)
class Work:
    """A task with what it works on."""

    task: Task
    title: str
    text: str
    markdown: bool
    page_starts: tuple[int, ...]
    index: IndexSpec


@dataclass(frozen=True, slots=True)
class Cut:
    """A task's outcome: its passages and a vector for each, in order."""

    task: Task
    pieces: Sequence[Piece]
    vectors: Sequence[bytes]


class WorkQueue(Protocol):
    """The durable queue of documents that wait to become searchable."""

    @property
    def lease_s(self) -> float:
        """Seconds that a lease holds without being renewed."""

    async def claim(self, limit: int) -> list[Task]:
        """Lease up to `limit` tasks that are due and that nobody works on, oldest first."""

    async def renew(self, tasks: Sequence[Task]) -> None:
        """Keep the leases of tasks that take long."""

    async def load(self, tasks: Sequence[Task], max_bytes: int) -> tuple[list[Work], list[Task]]:
        """What to work on, for as many of the first tasks as fit into `max_bytes` of text, and the tasks left over.

        At least one is loaded, however large. Tasks that were overtaken by a newer revision or a deletion are done,
        and in neither list.
        """

    async def publish(self, cuts: Sequence[Cut]) -> int:
        """Make documents searchable, each with all its passages at once, in one transaction.

        Returns how many were; the others were overtaken, or the lease was lost to another worker.
        """

    async def fail(self, task: Task, message: str) -> None:
        """Give up a task for good; `message` is for the owner of the document."""

    async def put_back(self, tasks: Sequence[Task], delay_s: float, *, failed: bool = False) -> None:
        """Return tasks to the queue, due after `delay_s`; `failed` counts a failure of the documents themselves."""

    async def promote(self) -> int:
        """Let index versions that are complete take over; returns how many did."""

    async def clean_up(self) -> None:
        """Remove rows of deleted collections, old jobs, and outbox rows that every replica has long read."""

    async def waiting(self) -> int:
        """Tasks that are not finished."""


@dataclass(frozen=True, slots=True)
class Changes:
    """A stretch of the outbox. `upto` is its last id; `documents` maps index versions to the documents that changed.

    `whole` are index versions to be read again from the start. `lost` says that rows that were not read are gone.
    """

    upto: int
    documents: Mapping[int, frozenset[int]]
    whole: frozenset[int]
    lost: bool


class Feed(Protocol):
    """What replicas read to keep their lexical index like the record."""

    async def head(self) -> int:
        """The id of the newest change; everything up to it is visible."""

    async def indexes(self) -> list[int]:
        """Index versions that there are."""

    async def changes(self, after: int, limit: int) -> Changes:
        """The next changes after `after`, in the order in which they were committed."""

    async def passages(self, index_id: int, documents: Sequence[int]) -> list[IndexedPassage]:
        """All passages of some documents as they are now."""

    def all_passages(self, index_id: int) -> AsyncIterator[list[IndexedPassage]]:
        """Every passage of an index version, in batches."""


Wake = Callable[[], None]
"""Tells a background loop of this process that there is work; losing it costs a moment, nothing else."""
