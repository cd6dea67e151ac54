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
    DeadLetter,
    DocumentInfo,
    IndexSpec,
    IndexVersion,
    Job,
    NewDocument,
    Passage,
    StoredDocument,
)
from headrace_retrieval.domain.people import Conversation, Erased, Fact, Remembered, Said
from headrace_retrieval.domain.rights import Caller
from headrace_retrieval.domain.sources import Counts, Known, SourceState, SyncTask
from headrace_retrieval.domain.spending import Generated
from headrace_retrieval.domain.widening import Wider
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

    async def generate(self, deployment: str, system: str, user: str, *, max_tokens: int, limit_s: float) -> Generated:
        """An answer at temperature 0. Raises HeadraceError."""

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

    def at_most(self, index_id: int, readers: frozenset[str] | None, wanted: Filter) -> int:
        """How many passages can pass rights and filter, at most; quick, and never too low but for what it lags."""


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

    async def versions(self, collection: Collection) -> list[IndexVersion]:
        """Its index versions, the active one first."""

    async def build(self, collection: Collection, wanted: IndexSpec, *, again: bool) -> UUID | None:
        """Build an index version, in the place of another one that is being built; the job that does.

        One that is being built as wanted goes on. None where the active one is as wanted, unless `again` asks for it
        nevertheless. Raises NotFound where the collection is gone.
        """

    async def cancel(self, collection: Collection) -> bool:
        """Give up the index version that is being built; False where there is none."""

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


class JobStore(Protocol):
    """Jobs in the record. Each method is one transaction."""

    async def job(self, tenant: str, job: UUID) -> Job | None:
        """A job of the tenant."""

    async def jobs(self, tenant: str, collection: Collection, state: str, before: UUID | None, limit: int) -> list[Job]:
        """A collection's jobs, newest first, from behind `before`; empty `state`: all. Without their errors."""

    async def dead(self, caller: Caller, collection: Collection, after: int, limit: int) -> list[DeadLetter]:
        """What was given up and neither replaced nor deleted since, as far as the caller may read it, oldest first."""

    async def retry(self, tenant: str, collection: Collection, items: Sequence[int] | None) -> tuple[int, list[int]]:
        """Put dead letters (None: all) back into the queue; how many, and the items that are not there.

        With an item that is not there, none is put back.
        """

    async def drop(
        self, tenant: str, collection: Collection, items: Sequence[int] | None
    ) -> tuple[int, list[int], str]:
        """Take back the texts of dead letters (None: all); how many, the items that are not there, and a document.

        The document is one that is missing only in an index version that is being built. With it, or with an item that
        is not there, none is dropped.
        """


class SourceStore(Protocol):
    """Sources in the record. Each method is one transaction."""

    @property
    def lease_s(self) -> float:
        """Seconds that a lease holds without being renewed."""

    async def states(self, tenant: str, collection: Collection) -> Mapping[str, SourceState]:
        """How the sources stand that were ever synchronised, by name; kind and schedule are the config's to tell."""

    async def refusals(
        self, tenant: str, collection: Collection, source: str, after: str, limit: int
    ) -> list[tuple[str, str]]:
        """Entries with a key greater than `after` that are no documents, each with the reason, by key."""

    async def ask(self, tenant: str, collection: Collection, source: str) -> None:
        """Queue a synchronisation, unless one waits or runs."""

    async def plan(self, tenant: str, collection: str, source: str, every_s: float) -> None:
        """Queue one where the last was queued longer than `every_s` ago, or never."""

    async def claim(self) -> SyncTask | None:
        """Lease one that waits, or whose worker died."""

    async def renew(self, task: SyncTask) -> bool:
        """Keep the lease; False where another process has it."""

    async def progress(self, task: SyncTask, counts: Counts) -> None:
        """Note how far it is. Raises NotReady where another process has the lease."""

    async def finish(self, task: SyncTask, error: str = "") -> None:
        """It is done; with `error`, it failed."""

    async def put_back(self, task: SyncTask) -> None:
        """Let another process go on with it."""

    async def known(self, task: SyncTask, keys: Sequence[str]) -> Mapping[str, Known]:
        """What is known of entries, by key."""

    async def saw(self, task: SyncTask, entries: Sequence[Known]) -> None:
        """Note entries as seen by the task's run."""

    async def vanished(self, task: SyncTask, limit: int) -> list[str]:
        """Keys of entries that the task's run, which has seen all, has not seen."""

    async def forget(self, task: SyncTask, keys: Sequence[str]) -> None:
        """Forget entries."""


class MemoryStore(Protocol):
    """Facts of people in the record. Each method is one transaction."""

    async def known(self, tenant: str, collection: Collection, person: str) -> Remembered:
        """What there is of a person."""

    async def consent(self, tenant: str, collection: Collection, person: str, granted: bool) -> int:
        """Note a consent, or take it back; how many facts were erased with it."""

    async def keep(self, tenant: str, collection: Collection, person: str, documents: Sequence[NewDocument]) -> UUID:
        """Store facts and a job that makes them searchable; returns the job. Raises Forbidden without a consent."""

    async def facts(self, tenant: str, collection: Collection, person: str, after: str, limit: int) -> list[Fact]:
        """A person's facts with an id greater than `after`, by id."""

    async def forget(self, tenant: str, collection: Collection, person: str, document_id: str) -> bool:
        """Erase a fact; False when there is none."""

    async def erase(self, tenant: str, person: str) -> Erased:
        """Remove everything of a person from all of the tenant's memories, and look for what is left."""

    async def expire(self, conversation_s: float) -> int:
        """Erase some of what has expired, and of the conversations that had no turn for so long; how many."""


class ConversationStore(Protocol):
    """Conversations in the record. Each method is one transaction that sees one person's."""

    async def append(
        self, tenant: str, collection: Collection, person: str, id: str, turns: Sequence[tuple[str, str, int]]
    ) -> None:
        """Add turns, each a role, a text and its tokens; the first ones begin the conversation."""

    async def get(self, tenant: str, collection: Collection, person: str, id: str) -> Conversation | None:
        """A conversation."""

    async def newest(
        self, tenant: str, collection: Collection, person: str, id: str, after: int, tokens: int
    ) -> list[Said]:
        """Turns with a number greater than `after`, newest first, as many as have `tokens` together."""

    async def after(self, tenant: str, collection: Collection, person: str, id: str, number: int) -> list[Said]:
        """All turns with a greater number, oldest first."""

    async def sum_up(
        self, tenant: str, collection: Collection, person: str, id: str, before: int, upto: int, summary: str
    ) -> bool:
        """Put a summary up to turn `upto` in the place of the one up to `before`; False where that is another now."""

    async def page(
        self, tenant: str, collection: Collection, person: str, after: str, limit: int
    ) -> list[Conversation]:
        """A person's conversations with an id greater than `after`, by id."""

    async def delete(self, tenant: str, collection: Collection, person: str, id: str) -> bool:
        """Erase a conversation; False when there is none."""


class PassageView(Protocol):
    """Passages as one caller sees them, in one transaction."""

    async def nearest(
        self, index_ids: Sequence[int], vector: bytes, wanted: Filter, limit: int, few: Sequence[int] = ()
    ) -> list[tuple[UUID, float]]:
        """Passages by cosine similarity to `vector`, most similar first.

        Args:
            few: those of the index versions of which few passages can pass rights and filter; they are looked at one
                by one.
        """

    async def read(self, index_ids: Sequence[int], chunk_ids: Sequence[UUID]) -> Mapping[UUID, Passage]:
        """Those of the passages that are there and that the caller may read."""

    async def widen(
        self, index_ids: Sequence[int], passages: Sequence[Passage], wider: Wider
    ) -> Mapping[UUID, Passage]:
        """The passages with what stands around them in their documents, as far as the caller may read it."""


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


class Graphs(Protocol):
    """What makes the vector search of large index versions quick, kept up in the background."""

    async def changed(self, after: int) -> tuple[int, frozenset[int]]:
        """The newest change, and the index versions that changed after `after`; below 0, all that there are."""

    async def tend(self, index_id: int) -> bool:
        """Do the next part of what an index version needs; whether there is more to do.

        Another replica that is at it is left to it. Raises NotReady.
        """

    async def drop_lost(self) -> None:
        """Remove graphs of index versions that are gone."""


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
