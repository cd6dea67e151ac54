"""Where documents come from by themselves."""

from __future__ import annotations

from headrace.calls._base import Calls, Listed, segment
from headrace.types.documents import Refusal, Source


class SourceCalls(Calls):
    """Sources, which the platform's config names."""

    async def sources(self, collection: str) -> list[Source]:
        """A collection's sources, and how the last synchronisation of each went."""
        return (await self._http.call("GET", f"/v1/collections/{segment(collection)}/sources", Listed[Source])).data

    async def sync_source(
        self, collection: str, source: str, *, wait: bool = True, timeout_s: float | None = None
    ) -> Source:
        """Synchronise a source: new and changed documents come in, those that vanished go out.

        Args:
            collection: whose source it is.
            source: its name.
            wait: return when it is done, not as soon as it is queued.
            timeout_s: seconds for the call, by default 600 when waiting.

        Raises:
            NotFound: the config names no such source.
        """
        path = f"/v1/collections/{segment(collection)}/sources/{segment(source)}/sync"
        seconds = 600.0 if timeout_s is None and wait else timeout_s
        return await self._http.call(
            "POST", path, Source, query={"wait": "true" if wait else "false"}, timeout_s=seconds
        )

    async def refusals(
        self, collection: str, source: str, *, limit: int | None = None, after: str | None = None
    ) -> list[Refusal]:
        """Entries of a source that are no documents, and why, by key; `limit` from 1 to 1000."""
        path = f"/v1/collections/{segment(collection)}/sources/{segment(source)}/refusals"
        return (await self._http.call("GET", path, Listed[Refusal], query={"limit": limit, "after": after})).data
