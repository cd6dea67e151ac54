"""Documents in, and what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID

from headrace_kit.errors import BadInput, DeadlineExceeded, NotFound
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.documents import check_batch, check_id
from headrace_retrieval.domain.files import Upload, read_files
from headrace_retrieval.domain.jobs import Jobs
from headrace_retrieval.domain.model import Collection, DocumentInfo, NewDocument, StoredDocument
from headrace_retrieval.domain.rights import Caller
from headrace_retrieval.ports import DocumentStore, Parser, Replica, Wake

WATCH_S = 0.1
"""How often a waiting ingestion looks at its job."""

_MARGIN_S = 0.1
MAX_PAGE = 1000
DEFAULT_PAGE = 100


class Ingest:
    """What callers do with documents.

    Args:
        replica: what `wait` waits for besides the record.
        queued: called when there is work for a worker.
        changed: called when something that was searchable no longer is.
    """

    def __init__(
        self,
        collections: Collections,
        store: DocumentStore,
        replica: Replica,
        parser: Parser,
        jobs: Jobs,
        *,
        queued: Wake,
        changed: Wake,
    ) -> None:
        self._collections = collections
        self._store = store
        self._replica = replica
        self._parser = parser
        self._jobs = jobs
        self._queued = queued
        self._changed = changed

    async def accept(
        self, caller: Caller, name: str, ids: Sequence[str], check: Callable[[Collection], Sequence[NewDocument]]
    ) -> UUID:
        """Store documents; when this returns they are on disk and will be searchable. Returns the job.

        Args:
            ids: ids of the documents as they were sent.
            check: makes checked documents for a collection.

        Raises:
            NotFound, Forbidden: the collection is not the caller's to change.
            BadInput: it is a memory, or a document is refused; then none is stored.
        """
        check_batch(ids)
        collection = await self._collections.filled(caller, name, "collection")
        job = await self._store.accept(caller.tenant, collection, check(collection))
        self._queued()
        self._changed()
        return job

    async def accept_files(self, caller: Caller, upload: Upload) -> UUID:
        """Read files and store them as documents, all or none. Returns the job.

        Raises:
            NotFound, Forbidden: the collection is not the caller's to change.
            BadInput: it is a memory, or a file is refused.
        """
        ids = [file.document_id for file in upload.files]
        check_batch(ids, "files")
        collection = await self._collections.filled(caller, upload.collection, "collection")
        return await self.accept(
            caller, upload.collection, ids, await read_files(self._parser, upload.files, collection)
        )

    async def wait(self, caller: Caller, job: UUID, remaining_s: float | None) -> None:
        """Return once a job's documents are searchable here.

        Raises:
            DeadlineExceeded: they are not within `remaining_s`; they will be later.
            BadInput: at least one never will be.
        """
        try:
            async with asyncio.timeout(None if remaining_s is None else max(0.0, remaining_s - _MARGIN_S)):
                # Any replica may do the work, so the record is asked.
                while not (found := await self._jobs.one(caller, job)).finished:  # noqa: ASYNC110
                    await asyncio.sleep(WATCH_S)
                await self._replica.caught_up()
        except TimeoutError:
            raise DeadlineExceeded(
                f"the documents are stored and will be searchable, but are not yet; ask for job {job} later"
            ) from None
        if found.errors:
            document, reason = found.errors[0]
            raise BadInput(
                f"{len(found.errors)} of {found.documents} documents cannot be indexed (job {job}); "
                f"{document!r}: {reason}",
                param="documents",
            )

    async def get(self, caller: Caller, name: str, document_id: str) -> StoredDocument:
        """A document that the caller may read. Raises NotFound, BadInput."""
        check_id(document_id, "document_id")
        collection = (await self._collections.find(caller, [name], "collection"))[0]
        found = await self._store.get(caller, collection, document_id)
        if found is None:
            raise NotFound(f"there is no document {document_id!r} in {name!r}", param="document_id")
        return found

    async def page(self, caller: Caller, name: str, after: str, limit: int) -> list[DocumentInfo]:
        """Documents that the caller may read, by id. Raises NotFound, BadInput."""
        if limit > MAX_PAGE:
            raise BadInput(f"limit is 1 to {MAX_PAGE}", param="limit")
        if after:
            check_id(after, "after")
        collection = (await self._collections.find(caller, [name], "collection"))[0]
        return await self._store.listed(caller, collection, after, limit or DEFAULT_PAGE)

    async def delete(self, caller: Caller, name: str, document_id: str) -> None:
        """Remove a document; searches do not see it from then on. Raises NotFound, BadInput, Forbidden."""
        check_id(document_id, "document_id")
        collection = await self._collections.filled(caller, name, "collection")
        if not await self._store.delete(caller.tenant, collection, document_id):
            raise NotFound(f"there is no document {document_id!r} in {name!r}", param="document_id")
        self._changed()
