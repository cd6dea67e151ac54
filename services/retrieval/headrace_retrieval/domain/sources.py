"""Sources: what a connector gives, and how far the last synchronisation of each came."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from headrace_retrieval.domain.model import Collection
from headrace_retrieval.domain.rights import Acl


class SourceError(Exception):
    """A source cannot be read; the text says why to the collection's owner, without secrets or what others said."""


class Unreadable(Exception):
    """One entry of a source cannot be had; the text says why."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file, to be parsed."""

    content: bytes
    name: str
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class TextContent:
    """A text as it is."""

    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


Content = FileContent | TextContent


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a source that is to be a document.

    Attributes:
        key: its name there, the same at each time.
        version: the same as last time only if its content is; empty where that cannot be known without reading it.
        read: reads it. Raises Unreadable, SourceError.
    """

    key: str
    version: str
    read: Callable[[], Awaitable[Content]]


class Source(Protocol):
    """A connector."""

    def entries(self) -> AsyncIterator[Entry]:
        """All that is in the source now, in any order, each once; read them before asking for the next ones.

        Raises:
            SourceError: the source cannot be listed to its end: then nothing of it may be taken for vanished.
        """


@dataclass(frozen=True, slots=True)
class Wanted:
    """A source as the config names it. `every_s` None: only when asked."""

    name: str
    kind: str
    every_s: float | None
    acl: Acl | None
    metadata: Mapping[str, Any]
    open: Callable[[], Source]


@dataclass(frozen=True, slots=True)
class Counts:
    """What a synchronisation found and did, in documents."""

    seen: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source stands. `state`: `idle` (never asked), `queued`, `running`, `done`, `failed` (`error` says why)."""

    name: str
    kind: str
    every_s: float | None
    state: str
    run: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    counts: Counts = Counts()
    error: str = ""


@dataclass(frozen=True, slots=True)
class SyncTask:
    """A synchronisation, leased to this process. `run` is its number; a run that died is taken up under its number."""

    collection: Collection
    source: str
    run: int


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an entry. `refused` is why it is no document; `run` the last one that saw it."""

    key: str
    version: str
    content_hash: bytes
    refused: str
    run: int
