"""What became of documents that were sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from headrace.calls._base import Calls, Listed, segment
from headrace.types.documents import DeadLetter, IndexVersion, Job, JobState


class _Retried(Struct):
    retried: int


class _Dropped(Struct):
    dropped: int


class CollectionJobCalls(Calls):
    """Jobs, index versions and dead letters."""

    async def jobs(
        self, collection: str, *, state: JobState | None = None, limit: int | None = None, after: str | None = None
    ) -> list[Job]:
        """How far a collection's ingestions are, newest first, without their errors; `limit` from 1 to 1000."""
        path = f"/v1/collections/{segment(collection)}/jobs"
        query = {"state": state, "limit": limit, "after": after}
        return (await self._http.call("GET", path, Listed[Job], query=query)).data

    async def job(self, collection: str, job: str) -> Job:
        """How far an ingestion is, with its errors. Raises NotFound."""
        return await self._http.call("GET", f"/v1/collections/{segment(collection)}/jobs/{segment(job)}", Job)

    async def indexes(self, collection: str) -> list[IndexVersion]:
        """How a collection is cut and embedded, and the index version that is being built. Raises NotFound."""
        path = f"/v1/collections/{segment(collection)}/indexes"
        return (await self._http.call("GET", path, Listed[IndexVersion])).data

    async def reindex(
        self,
        collection: str,
        *,
        embedding: str | None = None,
        max_tokens: int | None = None,
        overlap_tokens: int | None = None,
        again: bool = False,
    ) -> Job:
        """Build another index version beside the active one, which it replaces when it has every document.

        Args:
            collection: one of your team.
            embedding: deployment; None: as it is.
            max_tokens: of a passage, 16 to 2048; None: as it is.
            overlap_tokens: what neighbours share, at most half of that; None: as it is.
            again: build it although it is as the active one.

        Raises:
            BadRequest: there is no such embedding deployment for your team.
            Conflict: it is so already, or the config says how it is.
        """
        given = {"embedding": embedding, "max_tokens": max_tokens, "overlap_tokens": overlap_tokens}
        body = {"again": again, **{key: value for key, value in given.items() if value is not None}}
        return await self._http.call("POST", f"/v1/collections/{segment(collection)}/reindex", Job, body=body)

    async def cancel_reindex(self, collection: str) -> None:
        """Give up the index version that is being built. Raises NotFound."""
        await self._http.call("DELETE", f"/v1/collections/{segment(collection)}/reindex", object)

    async def dead_letters(
        self, collection: str, *, limit: int | None = None, after: str | None = None
    ) -> list[DeadLetter]:
        """Documents that could not be made searchable, and why, oldest first; `limit` from 1 to 1000.

        Only those that the key may read: all of them with the scope `read_all`.
        """
        path = f"/v1/collections/{segment(collection)}/dead-letters"
        return (await self._http.call("GET", path, Listed[DeadLetter], query={"limit": limit, "after": after})).data

    async def retry_dead_letters(self, collection: str, ids: Sequence[str] | None = None) -> int:
        """Put dead letters back into the queue, all of them where `ids` is None; how many. Raises NotFound."""
        path = f"/v1/collections/{segment(collection)}/dead-letters/retry"
        return (await self._http.call("POST", path, _Retried, body=_which(ids))).retried

    async def drop_dead_letters(self, collection: str, ids: Sequence[str] | None = None) -> int:
        """Take back the texts of dead letters, of all of them where `ids` is None; how many.

        What was searchable under a document's id before stays; a document that never was searchable is removed.

        Raises:
            NotFound: an id is not there; then none is dropped.
            Conflict: a document is missing in an index version that is being built; then none is dropped.
        """
        path = f"/v1/collections/{segment(collection)}/dead-letters/drop"
        return (await self._http.call("POST", path, _Dropped, body=_which(ids))).dropped


def _which(ids: Sequence[str] | None) -> dict[str, Any]:
    return {"all": True} if ids is None else {"ids": list(ids)}
