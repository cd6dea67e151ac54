"""Facts of people: kept with their consent, found by themselves alone, and erased."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from uuid_utils.compat import uuid7

from headrace_kit.errors import BadInput, NotFound
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.jobs import DEFAULT_PAGE, MAX_PAGE
from headrace_retrieval.domain.metadata import Filter
from headrace_retrieval.domain.model import Collection, Mode, Query
from headrace_retrieval.domain.people import (
    Erased,
    Fact,
    Kept,
    Limits,
    NewFact,
    Recalled,
    Remembered,
    check_person,
    document_id,
    documents_of,
    fact_id,
)
from headrace_retrieval.domain.rights import Caller
from headrace_retrieval.domain.search import DEFAULT_TOP_K, MAX_TOP_K, Search
from headrace_retrieval.domain.widening import MOST_PIECES
from headrace_retrieval.ports import MemoryStore, Wake

DEFAULT_COLLECTION = "memory"


async def memory_of(collections: Collections, caller: Caller, name: str, person: str) -> Collection:
    """The memory that a call is about, checked against the caller.

    Raises:
        BadInput: `person` is no name, or the collection is no memory.
        Forbidden: the person is somebody else.
        NotFound: there is no such collection.
    """
    check_person(caller, person)
    try:
        return await collections.memory(caller, name or DEFAULT_COLLECTION, "collection")
    except NotFound as error:
        raise NotFound(f"{error.message}; make one of the kind 'memory' first", param="collection") from error


class Memories:
    """What callers do with facts.

    Args:
        queued: called when there is work for a worker.
        changed: called when something that was searchable no longer is.
        limits: reads how long facts are kept.
    """

    def __init__(
        self,
        collections: Collections,
        store: MemoryStore,
        search: Search,
        limits: Callable[[], Limits],
        *,
        queued: Wake,
        changed: Wake,
    ) -> None:
        self._collections = collections
        self._store = store
        self._search = search
        self._limits = limits
        self._queued = queued
        self._changed = changed

    async def known(self, caller: Caller, name: str, person: str) -> tuple[Collection, Remembered]:
        """What there is of a person. Raises as `memory_of`."""
        collection = await memory_of(self._collections, caller, name, person)
        return collection, await self._store.known(caller.tenant, collection, person)

    async def consent(self, caller: Caller, name: str, person: str, granted: bool) -> tuple[Collection, Remembered]:
        """Note a consent, or take it back, which erases the facts. Raises as `memory_of`."""
        collection = await memory_of(self._collections, caller, name, person)
        await self._store.consent(caller.tenant, collection, person, granted)
        self._changed()
        return collection, await self._store.known(caller.tenant, collection, person)

    async def keep(self, caller: Caller, name: str, person: str, facts: Sequence[NewFact]) -> Kept:
        """Store facts; when this returns they are on disk and will be searchable.

        Raises:
            BadInput, Forbidden, NotFound: as `memory_of`; a fact is malformed; the person has not consented.
        """
        collection = await memory_of(self._collections, caller, name, person)
        named = [
            fact if fact.id else NewFact(str(uuid7()), fact.text, fact.metadata, fact.expires_at) for fact in facts
        ]
        default = datetime.now(UTC) + timedelta(seconds=self._limits().fact_s)
        job = await self._store.keep(caller.tenant, collection, person, documents_of(person, named, default))
        self._queued()
        self._changed()
        return Kept(job, [fact.id for fact in named])

    async def facts(self, caller: Caller, name: str, person: str, after: str, limit: int) -> list[Fact]:
        """A person's facts, by id. Raises as `memory_of`."""
        if limit > MAX_PAGE:
            raise BadInput(f"limit is 1 to {MAX_PAGE}", param="limit")
        if after:
            document_id(person, after)
        collection = await memory_of(self._collections, caller, name, person)
        return await self._store.facts(caller.tenant, collection, person, after, limit or DEFAULT_PAGE)

    async def forget(self, caller: Caller, name: str, person: str, fact: str) -> None:
        """Erase a fact; searches do not see it from then on. Raises as `memory_of`, and NotFound for the fact."""
        collection = await memory_of(self._collections, caller, name, person)
        if not await self._store.forget(caller.tenant, collection, person, document_id(person, fact)):
            raise NotFound(f"there is no fact {fact!r} of this user", param="id")
        self._changed()

    async def recall(
        self, caller: Caller, name: str, person: str, query: str, top_k: int, wanted: Filter, rerank: bool
    ) -> list[Recalled]:
        """A person's facts that answer a query, best first. Raises as `memory_of` and as a search."""
        collection = await memory_of(self._collections, caller, name, person)
        if top_k > MAX_TOP_K:
            raise BadInput(f"top_k is 1 to {MAX_TOP_K}", param="top_k")
        # As the person: whatever the caller may read, no other's facts are among what is searched. A long fact is in
        # pieces; its whole text comes with the best of them.
        found = await self._search(
            Caller(caller.tenant, person),
            Query(
                collections=(collection.spec.name,),
                text=query,
                top_k=min(MAX_TOP_K, 2 * (top_k or DEFAULT_TOP_K)),
                mode=Mode.HYBRID,
                rerank=rerank,
                filter=wanted,
                window=MOST_PIECES,
            ),
        )
        facts: dict[str, Recalled] = {}
        for hit in found.hits:
            passage = hit.passage
            id = fact_id(passage.document_id)
            facts.setdefault(id, Recalled(id, passage.text, passage.metadata, hit.score))
        return list(facts.values())[: top_k or DEFAULT_TOP_K]

    async def erase(self, caller: Caller, person: str) -> Erased:
        """Remove everything of a person from all memories of the tenant. Raises BadInput, Forbidden."""
        check_person(caller, person)
        erased = await self._store.erase(caller.tenant, person)
        self._changed()
        return erased
