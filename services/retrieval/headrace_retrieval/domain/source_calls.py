"""What callers may know of sources, and ask of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from headrace_kit.errors import BadInput, DeadlineExceeded, NotFound
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.jobs import DEFAULT_PAGE, MAX_PAGE
from headrace_retrieval.domain.model import Collection
from headrace_retrieval.domain.rights import Caller
from headrace_retrieval.domain.sources import SourceState, Wanted
from headrace_retrieval.ports import SourceStore, Wake

WATCH_S = 0.2
_MARGIN_S = 0.1

Configured = Callable[[Collection], Mapping[str, Wanted]]
"""The sources that the config names for a collection."""


class Sources:
    """A collection's sources.

    Args:
        queued: called when a synchronisation was asked for.
    """

    def __init__(self, collections: Collections, store: SourceStore, configured: Configured, queued: Wake) -> None:
        self._collections = collections
        self._store = store
        self._configured = configured
        self._queued = queued

    async def all(self, caller: Caller, name: str) -> list[SourceState]:
        """The sources that the config names, by name. Raises NotFound, Forbidden."""
        collection = await self._collections.own(caller, name, "collection")
        states = await self._store.states(caller.tenant, collection)
        return [_state(one, states) for _, one in sorted(self._configured(collection).items())]

    async def sync(self, caller: Caller, name: str, source: str) -> SourceState:
        """Ask for a synchronisation; one that waits or runs already is that one. Returns how the source stands.

        Raises:
            NotFound, Forbidden: the collection is not the caller's own, or the config names no such source for it.
        """
        collection, wanted = await self._one(caller, name, source)
        await self._store.ask(caller.tenant, collection, wanted.name)
        self._queued()
        return _state(wanted, await self._store.states(caller.tenant, collection))

    async def wait(self, caller: Caller, name: str, source: str, remaining_s: float | None) -> SourceState:
        """How a source stands once nothing of it waits or runs. Raises NotFound, Forbidden, DeadlineExceeded."""
        collection, wanted = await self._one(caller, name, source)
        try:
            async with asyncio.timeout(None if remaining_s is None else max(0.0, remaining_s - _MARGIN_S)):
                while True:
                    state = _state(wanted, await self._store.states(caller.tenant, collection))
                    if state.state not in ("queued", "running"):
                        return state
                    await asyncio.sleep(WATCH_S)
        except TimeoutError:
            raise DeadlineExceeded(
                "the synchronisation goes on, and is not done yet; ask for the source later"
            ) from None

    async def refusals(self, caller: Caller, name: str, source: str, after: str, limit: int) -> list[tuple[str, str]]:
        """Entries of a source that are no documents, each with the reason, by key from behind `after`.

        Raises:
            NotFound, Forbidden: as `sync`.
            BadInput: `limit` is malformed.
        """
        if limit > MAX_PAGE:
            raise BadInput(f"limit is 1 to {MAX_PAGE}", param="limit")
        collection, wanted = await self._one(caller, name, source)
        if "\0" in after:
            raise BadInput("a key has no NUL characters", param="after")
        return await self._store.refusals(caller.tenant, collection, wanted.name, after, limit or DEFAULT_PAGE)

    async def _one(self, caller: Caller, name: str, source: str) -> tuple[Collection, Wanted]:
        collection = await self._collections.own(caller, name, "collection")
        configured = self._configured(collection)
        if source not in configured:
            there = ", ".join(sorted(configured)) or "none"
            raise NotFound(f"the config names no source {source!r} for {name!r}; it names: {there}", param="source")
        return collection, configured[source]


def _state(wanted: Wanted, states: Mapping[str, SourceState]) -> SourceState:
    found = states.get(wanted.name) or SourceState(wanted.name, "", None, "idle")
    return replace(found, kind=wanted.kind, every_s=wanted.every_s)
