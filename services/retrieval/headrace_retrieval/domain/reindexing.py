"""Index versions: building another one beside the active one, which it replaces when it has every document."""

from __future__ import annotations

from collections.abc import Callable

from headrace_kit.errors import BadInput, Conflict, NotFound
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.jobs import Jobs
from headrace_retrieval.domain.model import IndexSpec, IndexVersion, Job
from headrace_retrieval.domain.rights import Caller
from headrace_retrieval.ports import CollectionStore, Wake

LEAST_TOKENS, MOST_TOKENS = 16, 2048
"""Of a passage, as the config bounds them too."""

NewIndex = Callable[[str, str], IndexSpec]
"""How a tenant's collection is cut and embedded by a deployment; raises BadInput where the tenant has no such one."""


class Reindexing:
    """What callers do with index versions.

    Args:
        queued: called when there is work for a worker.
    """

    def __init__(
        self, collections: Collections, store: CollectionStore, jobs: Jobs, new_index: NewIndex, queued: Wake
    ) -> None:
        self._collections = collections
        self._store = store
        self._jobs = jobs
        self._new_index = new_index
        self._queued = queued

    async def versions(self, caller: Caller, name: str) -> list[tuple[IndexVersion, Job | None]]:
        """A collection's index versions, the active one first, each with its job. Raises NotFound, Forbidden."""
        collection = await self._collections.own(caller, name, "collection")
        found = await self._store.versions(collection)
        return [(one, await self._jobs.one(caller, one.job) if one.job is not None else None) for one in found]

    async def build(
        self, caller: Caller, name: str, embedding: str, max_tokens: int, overlap_tokens: int | None, again: bool
    ) -> Job:
        """Build an index version; one that is being built as wanted already goes on. Returns its job.

        Another one that is being built is given up. Searches read the active one until the new one has every document
        that there is then, those that came meanwhile among them; who is killed in between is followed by another
        replica, which does not do again what was done.

        Args:
            embedding: deployment; empty: as it is.
            max_tokens: of a passage; 0: as it is.
            overlap_tokens: None: as it is, but at most half of `max_tokens`.
            again: build it although it is as the active one.

        Raises:
            NotFound, Forbidden: the collection is not the caller's own.
            BadInput: there is no such deployment for the tenant, or a number is out of bounds.
            Conflict: the config says how the collection is cut and embedded; or it is so already.
        """
        collection = await self._collections.own(caller, name, "collection")
        active = collection.spec.index
        if embedding and embedding != active.embedding:
            self._new_index(caller.tenant, embedding)
        longest = max_tokens or active.max_tokens
        shared = min(active.overlap_tokens, longest // 2) if overlap_tokens is None else overlap_tokens
        if not LEAST_TOKENS <= longest <= MOST_TOKENS:
            raise BadInput(f"max_tokens is {LEAST_TOKENS} to {MOST_TOKENS}", param="max_tokens")
        if shared > longest // 2:
            raise BadInput("overlap_tokens is at most half of max_tokens", param="overlap_tokens")
        wanted = IndexSpec(embedding or active.embedding, longest, shared)
        if collection.source == "config" and wanted != active:
            raise Conflict(
                f"the config says how {name!r} is cut and embedded: change `collections.{collection.spec.name}` there",
                param="collection",
            )
        job = await self._store.build(collection, wanted, again=again)
        if job is None:
            raise Conflict(f"{name!r} is cut and embedded so already; say again to do it anew", param="embedding")
        self._queued()
        return await self._jobs.one(caller, job)

    async def cancel(self, caller: Caller, name: str) -> None:
        """Give up the index version that is being built.

        Raises:
            NotFound, Forbidden: the collection is not the caller's own, or none is being built.
            Conflict: the config asks for it.
        """
        collection = await self._collections.own(caller, name, "collection")
        building = [one for one in await self._store.versions(collection) if one.building]
        if building and collection.source == "config" and building[0].spec != collection.spec.index:
            raise Conflict(f"the config wants {name!r} built so: change it back there", param="collection")
        if not await self._store.cancel(collection):
            raise NotFound(f"no index version of {name!r} is being built", param="collection")
