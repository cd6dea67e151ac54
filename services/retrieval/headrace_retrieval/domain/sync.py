"""Brings a source's documents into its collection: new ones, changed ones, and those that vanished out."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from headrace_kit.errors import HeadraceError
from headrace_retrieval.domain.documents import MARKDOWN, MAX_ID, MAX_TITLE, PLAIN, check
from headrace_retrieval.domain.model import Collection, NewDocument
from headrace_retrieval.domain.sources import (
    Content,
    Counts,
    Entry,
    FileContent,
    Known,
    SourceError,
    SyncTask,
    TextContent,
    Unreadable,
    Wanted,
)
from headrace_retrieval.parsing.parsed import Refused
from headrace_retrieval.ports import DocumentStore, Parser, SourceStore, Wake

BATCH = 50
"""Entries that are looked at, and stored, together."""

AT_ONCE = 4
"""Entries that are read at one time."""

_REMOVED_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class _Read:
    """What came of an entry: a document, or why it is none."""

    known: Known
    document: NewDocument | None


class Sync:
    """One synchronisation after the other.

    Args:
        queued: called when there is work for a worker.
        changed: called when something that was searchable no longer is.
    """

    def __init__(
        self, store: SourceStore, documents: DocumentStore, parser: Parser, *, queued: Wake, changed: Wake
    ) -> None:
        self._store = store
        self._documents = documents
        self._parser = parser
        self._queued = queued
        self._changed = changed

    async def run(self, task: SyncTask, wanted: Wanted) -> Counts:
        """Bring everything over. What was done when it ends early stays done, and is not done again.

        Raises:
            SourceError: the source cannot be read to its end; nothing is removed then.
            HeadraceError: the record is away, or the collection has changed its rules.
        """
        counts, rules = Counts(), _rules(wanted).hex()[:16]
        seen: set[str] = set()
        batch: list[Entry] = []
        async for entry in wanted.open().entries():
            if entry.key in seen:
                raise SourceError(f"two entries of the source have the id {entry.key[:200]!r}")
            seen.add(entry.key)
            # Part of the version: rights and metadata that the config changes reach what is as it was.
            version = f"{entry.version} {rules}" if entry.version else ""
            batch.append(replace(entry, version=version))
            if len(batch) == BATCH:
                counts = await self._take(task, wanted, batch, counts)
                batch = []
        if batch:
            counts = await self._take(task, wanted, batch, counts)
        while gone := await self._store.vanished(task, _REMOVED_AT_ONCE):
            counts = replace(counts, removed=counts.removed + await self._remove(task, gone))
            await self._store.progress(task, counts)
        return counts

    async def _take(self, task: SyncTask, wanted: Wanted, batch: Sequence[Entry], counts: Counts) -> Counts:
        known = await self._store.known(task, [entry.key for entry in batch])
        same = [known[entry.key] for entry in batch if _same(entry, known)]
        places = asyncio.Semaphore(AT_ONCE)

        async def read(entry: Entry) -> _Read:
            async with places:
                return await self._read(task.collection, wanted, entry, known.get(entry.key))

        reads = await asyncio.gather(*(read(entry) for entry in batch if not _same(entry, known)))
        documents = [one.document for one in reads if one.document is not None]
        if documents:
            await self._documents.accept(task.collection.spec.tenant, task.collection, documents)
            self._queued()
            self._changed()
        # Recorded after the documents are stored: who dies in between reads these once more, and finds them the same.
        await self._store.saw(task, [*same, *(one.known for one in reads)])
        before = {one.known.key for one in reads if one.known.key in known and not known[one.known.key].refused}
        fresh = sum(one.document is not None and one.known.key not in before for one in reads)
        refused = sum(bool(one.known.refused) for one in reads) + sum(bool(one.refused) for one in same)
        counts = replace(
            counts,
            seen=counts.seen + len(batch),
            added=counts.added + fresh,
            changed=counts.changed + len(documents) - fresh,
            unchanged=counts.unchanged + len(batch) - len(documents) - refused,
            refused=counts.refused + refused,
        )
        await self._store.progress(task, counts)
        return counts

    async def _read(self, collection: Collection, wanted: Wanted, entry: Entry, known: Known | None) -> _Read:
        """Read an entry, unless its content turns out to be what it was."""
        try:
            content = await entry.read()
        except Unreadable as error:
            # Without its version, so that it is tried again the next time.
            return _Read(Known(entry.key, "", b"", str(error)[:500], 0), None)
        digest = _digest(content, wanted)
        if known is not None and known.content_hash == digest:
            return _Read(replace(known, version=entry.version), None)
        try:
            document = await self._document(collection, wanted, entry.key, content)
        except (Refused, HeadraceError) as error:
            reason = error.message if isinstance(error, HeadraceError) else str(error)
            return _Read(Known(entry.key, entry.version, digest, reason[:500], 0), None)
        return _Read(Known(entry.key, entry.version, digest, "", 0), document)

    async def _document(self, collection: Collection, wanted: Wanted, key: str, content: Content) -> NewDocument:
        metadata = dict(wanted.metadata)
        pages: tuple[int, ...] = ()
        if isinstance(content, TextContent):
            text, title, kind = content.text, content.title, PLAIN
            metadata |= content.metadata
        else:
            parsed = await self._parser.parse(content.content, content.name, content.content_type)
            text, title, pages = parsed.text, parsed.title or content.name, parsed.pages
            kind = MARKDOWN if parsed.markdown else PLAIN
        return check(
            id=document_id(wanted.name, key),
            text=text,
            title=" ".join(title.split())[:MAX_TITLE],
            content_type=kind,
            metadata=metadata,
            acl=wanted.acl,
            acl_required=collection.spec.acl_required,
            param="source",
            page_starts=pages,
        )

    async def _remove(self, task: SyncTask, keys: Sequence[str]) -> int:
        removed = 0
        for key in keys:
            removed += await self._documents.delete(
                task.collection.spec.tenant, task.collection, document_id(task.source, key)
            )
        await self._store.forget(task, keys)
        self._changed()
        return removed


def document_id(source: str, key: str) -> str:
    """What an entry's document is called. A name that is too long keeps its end, and its hash."""
    id = f"{source}/{key}"
    if len(id) <= MAX_ID:
        return id
    return f"{source}/{hashlib.sha256(key.encode()).hexdigest()[:16]}…{key[-(MAX_ID - len(source) - 18) :]}"


def _same(entry: Entry, known: Mapping[str, Known]) -> bool:
    return bool(entry.version) and entry.key in known and known[entry.key].version == entry.version


def _digest(content: Content, wanted: Wanted) -> bytes:
    """SHA-256 over what makes the document: its content, and what the config adds."""
    if isinstance(content, FileContent):
        parts = [content.name.encode(), content.content_type.encode(), content.content]
    else:
        shown = json.dumps(dict(content.metadata), sort_keys=True, default=str)
        parts = [content.title.encode(), shown.encode(), content.text.encode()]
    digest = hashlib.sha256(_rules(wanted))
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _rules(wanted: Wanted) -> bytes:
    """SHA-256 over what the config adds to each document."""
    acl = None if wanted.acl is None else [list(wanted.acl.users), list(wanted.acl.groups), wanted.acl.public]
    return hashlib.sha256(json.dumps([acl, dict(wanted.metadata)], sort_keys=True).encode()).digest()
