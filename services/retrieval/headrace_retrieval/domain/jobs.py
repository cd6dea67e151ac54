"""Jobs: how far they are, and the documents that were given up (dead letters)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from headrace_kit.errors import BadInput, Conflict, NotFound
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.model import DeadLetter, Job
from headrace_retrieval.domain.rights import Caller
from headrace_retrieval.ports import JobStore, Wake

MAX_PAGE = 1000
DEFAULT_PAGE = 100
STATES = ("queued", "running", "done", "failed")


class Jobs:
    """What callers may know of jobs, and do about dead letters.

    Args:
        queued: called when there is work for a worker.
        changed: called when an index version may be complete now.
    """

    def __init__(self, collections: Collections, store: JobStore, *, queued: Wake, changed: Wake) -> None:
        self._collections = collections
        self._store = store
        self._queued = queued
        self._changed = changed

    async def one(self, caller: Caller, job: UUID) -> Job:
        """A job of the caller's tenant. Raises NotFound."""
        found = await self._store.job(caller.tenant, job)
        if found is None:
            raise NotFound(f"there is no job {job}", param="job")
        return found

    async def page(self, caller: Caller, name: str, state: str, after: str, limit: int) -> list[Job]:
        """A collection's jobs, newest first, without their errors.

        Args:
            state: only those; empty: all.
            after: id of the last one that is known; empty: from the newest.
            limit: 1 to 1000; 0 means 100.

        Raises:
            NotFound, Forbidden: the collection is not the caller's own.
            BadInput: `state`, `after` or `limit` is malformed.
        """
        if state and state not in STATES:
            raise BadInput(f"state is one of {', '.join(STATES)}", param="state")
        before = _uuid(after, "after") if after else None
        collection = await self._collections.own(caller, name, "collection")
        return await self._store.jobs(caller.tenant, collection, state, before, _limit(limit))

    async def dead(self, caller: Caller, name: str, after: str, limit: int) -> list[DeadLetter]:
        """A collection's dead letters whose documents the caller may read, oldest first.

        Raises:
            NotFound, Forbidden: the collection is not the caller's own.
            BadInput: `after` or `limit` is malformed.
        """
        last = _items([after], "after")[0] if after else 0
        collection = await self._collections.own(caller, name, "collection")
        return await self._store.dead(caller, collection, last, _limit(limit))

    async def retry(self, caller: Caller, name: str, ids: Sequence[str], everything: bool) -> int:
        """Put dead letters back into the queue, as if they had never been tried; how many.

        Raises:
            NotFound, Forbidden: the collection is not the caller's own, or an id is not there; then none is retried.
            BadInput: neither ids nor all, both, or too many ids.
        """
        items = _chosen(ids, everything)
        collection = await self._collections.own(caller, name, "collection")
        done, missing = await self._store.retry(caller.tenant, collection, items)
        _all_there(missing)
        self._queued()
        return done

    async def drop(self, caller: Caller, name: str, ids: Sequence[str], everything: bool) -> int:
        """Take back the texts of dead letters; how many.

        What was searchable under a document's id before stays; a document that never was searchable is removed.

        Raises:
            NotFound, Forbidden: the collection is not the caller's own, or an id is not there; then none is dropped.
            Conflict: a document is missing in an index version that is being built; then none is dropped.
            BadInput: neither ids nor all, both, or too many ids.
        """
        items = _chosen(ids, everything)
        collection = await self._collections.own(caller, name, "collection")
        done, missing, building = await self._store.drop(caller.tenant, collection, items)
        _all_there(missing)
        if building:
            raise Conflict(
                f"{building!r} is searchable, and is missing in an index version that is being built: retry it, "
                "delete the document, or drop that version",
                param="ids",
            )
        self._changed()
        return done


def _limit(limit: int) -> int:
    if limit > MAX_PAGE:
        raise BadInput(f"limit is 1 to {MAX_PAGE}", param="limit")
    return limit or DEFAULT_PAGE


def _chosen(ids: Sequence[str], everything: bool) -> list[int] | None:
    """The items that were named; None: all."""
    if everything == bool(ids):
        raise BadInput("name ids, or say all", param="ids")
    if len(ids) > MAX_PAGE:
        raise BadInput(f"name at most {MAX_PAGE} ids at a time", param="ids")
    return None if everything else _items(ids, "ids")


def _items(ids: Sequence[str], param: str) -> list[int]:
    for id in ids:
        if not (id.isascii() and id.isdigit()) or len(id) > 18:
            raise NotFound(f"there is no dead letter {id!r}", param=param)
    return [int(id) for id in ids]


def _uuid(text: str, param: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadInput(f"{text!r} is not the id of a job", param=param) from None


def _all_there(missing: Sequence[int]) -> None:
    if missing:
        raise NotFound(f"there is no dead letter {missing[0]}", param="ids")
