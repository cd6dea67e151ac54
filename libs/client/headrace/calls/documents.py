"""Collections, ingestion and search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from headrace._http import Form
from headrace.calls._base import Calls, Listed, segment
from headrace.types.documents import (
    Acl,
    AclMode,
    Collection,
    CollectionKind,
    Document,
    DocumentInfo,
    Freshness,
    IngestJob,
    Mode,
    Passage,
    Rewrite,
)


class _Found(Struct):
    results: list[Passage]


class DocumentCalls(Calls):
    """A team's documents."""

    async def create_collection(
        self, name: str, *, embedding: str | None = None, acl: AclMode | None = None, kind: CollectionKind | None = None
    ) -> Collection:
        """Make a collection. The same call again returns it; other settings raise Conflict.

        Args:
            name: 1 to 63 of `a-z`, `0-9`, `-`, `_`.
            embedding: deployment that embeds its passages; the platform's default when None.
            acl: `required`: each document says who may read it; `none`: everyone with the team's keys.
            kind: `documents`, or `memory` for what is kept of people.
        """
        given = {"name": name, "embedding": embedding, "acl": acl, "kind": kind}
        body = {key: value for key, value in given.items() if value is not None}
        return await self._http.call("POST", "/v1/collections", Collection, body=body)

    async def collections(self) -> list[Collection]:
        """The collections that you may read."""
        return (await self._http.call("GET", "/v1/collections", Listed[Collection])).data

    async def collection(self, name: str) -> Collection:
        """One collection. Raises NotFound."""
        return await self._http.call("GET", f"/v1/collections/{segment(name)}", Collection)

    async def delete_collection(self, name: str) -> None:
        """Remove a collection with its documents."""
        await self._http.call("DELETE", f"/v1/collections/{segment(name)}", object)

    async def ingest(
        self,
        collection: str,
        documents: Sequence[Document | Mapping[str, Any]],
        *,
        wait: bool = True,
        timeout_s: float | None = None,
    ) -> IngestJob:
        """Store 1 to 1000 documents; an id that exists is replaced.

        Args:
            collection: where to.
            documents: texts with their ids.
            wait: return when they are searchable, not as soon as they are on disk.
            timeout_s: seconds for the call, by default 600 when waiting.
        """
        path = f"/v1/collections/{segment(collection)}/documents"
        seconds = 600.0 if timeout_s is None and wait else timeout_s
        query = {"wait": "true" if wait else "false"}
        return await self._http.call(
            "POST", path, IngestJob, body={"documents": list(documents)}, query=query, timeout_s=seconds
        )

    async def ingest_file(
        self,
        collection: str,
        content: bytes,
        name: str,
        *,
        id: str | None = None,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        acl: Acl | None = None,
        content_type: str = "application/octet-stream",
        wait: bool = True,
        timeout_s: float | None = None,
    ) -> IngestJob:
        """Store a file as a document: PDF, DOCX, PPTX, XLSX, HTML, e-mail, CSV, Markdown or text.

        Args:
            collection: where to.
            content: the file's bytes.
            name: the file's name; its ending helps to tell its format.
            id: the document's id; the name without its folders when None.
            title: the title in the file, else its name, when None.
            metadata: what searches can filter by.
            acl: who may read it.
            content_type: looked at where neither content nor name tell the format.
            wait: return when it is searchable, not as soon as it is on disk.
            timeout_s: seconds for the call, by default 600.

        Raises:
            BadRequest: the file is locked, broken, too large, or of another kind.
        """
        path = f"/v1/collections/{segment(collection)}/documents"
        given = {
            "id": id,
            "title": title,
            "metadata": None if metadata is None else msgspec.json.encode(dict(metadata)).decode(),
            "acl": None if acl is None else msgspec.json.encode(acl).decode(),
        }
        form = Form({key: value for key, value in given.items() if value is not None}, [(name, content, content_type)])
        return await self._http.call(
            "POST",
            path,
            IngestJob,
            form=form,
            query={"wait": "true" if wait else "false"},
            timeout_s=600.0 if timeout_s is None else timeout_s,
        )

    async def documents(
        self, collection: str, *, limit: int | None = None, after: str | None = None
    ) -> list[DocumentInfo]:
        """Stored documents in the order of their ids, from the one after `after`; `limit` from 1 to 1000."""
        path = f"/v1/collections/{segment(collection)}/documents"
        return (await self._http.call("GET", path, Listed[DocumentInfo], query={"limit": limit, "after": after})).data

    async def document(self, collection: str, document_id: str) -> Document:
        """The stored text that spans point into. Raises NotFound."""
        path = f"/v1/collections/{segment(collection)}/documents/{segment(document_id)}"
        return await self._http.call("GET", path, Document)

    async def delete_document(self, collection: str, document_id: str) -> None:
        """Remove a document. Raises NotFound."""
        path = f"/v1/collections/{segment(collection)}/documents/{segment(document_id)}"
        await self._http.call("DELETE", path, object)

    async def search(
        self,
        collection: str,
        query: str,
        *,
        top_k: int = 10,
        mode: Mode = "hybrid",
        rerank: bool | None = None,
        filter: Mapping[str, Any] | None = None,
        explain: bool = False,
        diversity: float = 0.0,
        freshness: Freshness | None = None,
        window: int = 0,
        section: bool = False,
        rewrite: Rewrite | None = None,
    ) -> list[Passage]:
        """Passages that answer a query, best first.

        Args:
            collection: where to look.
            query: 1 to 8192 characters.
            top_k: passages wanted, 1 to 100.
            mode: BM25 and vectors fused, or one of them.
            rerank: order the best candidates by the cross-encoder; None: the platform's default.
            filter: equality on metadata fields; a list means any of.
            explain: fill `scores` with each stage's score.
            diversity: 0 to 1, how far passages go back that say what a better one says.
            freshness: put old passages back, by a date in their metadata.
            window: pieces of the document on either side that come with each, 0 to 40.
            section: bring what stands under the same headings.
            rewrite: let a model rewrite the query first.
        """
        body: dict[str, Any] = {"query": query, "top_k": top_k, "mode": mode}
        if rerank is not None:
            body["rerank"] = rerank
        if filter:
            body["filter"] = dict(filter)
        if explain:
            body["explain"] = True
        if diversity:
            body["diversity"] = diversity
        if freshness is not None:
            body["freshness"] = {"field": freshness.field, "half_life_days": freshness.half_life_days}
        if window:
            body["window"] = window
        if section:
            body["section"] = True
        if rewrite is not None:
            body["rewrite"] = msgspec.to_builtins(rewrite)
        path = f"/v1/collections/{segment(collection)}/search"
        return (await self._http.call("POST", path, _Found, body=body)).results
