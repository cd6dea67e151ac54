"""`/v1/collections` and what is below it: passed on to retrieval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Request, Response
from headrace_gateway.http_api.read import decode, flag, query, whole_number
from headrace_gateway.http_api.retrieval import ONE, RetrievalApi
from headrace_gateway.http_api.router import Route
from headrace_gateway.http_api.uploads import FIELDS, Acl, read_form
from headrace_gateway.http_api.values import object_of, struct_of, time_text
from headrace_gateway.ports import Services
from headrace_protos.retrieval.v1 import messages_pb2 as pb

_INGEST_S = 600.0
_ACL = {"required": pb.ACL_MODE_REQUIRED, "none": pb.ACL_MODE_NONE}
_KINDS = {"documents": pb.COLLECTION_KIND_DOCUMENTS, "memory": pb.COLLECTION_KIND_MEMORY}
_KIND_NAMES = {value: name for name, value in _KINDS.items()}
_ACL_NAMES = {value: name for name, value in _ACL.items()}
_MODES = {
    "hybrid": pb.SEARCH_MODE_HYBRID,
    "bm25": pb.SEARCH_MODE_BM25,
    "vector": pb.SEARCH_MODE_VECTOR,
}


class NewCollection(Struct, forbid_unknown_fields=True):
    """`POST /v1/collections`."""

    name: str
    embedding: str | None = None
    acl: Literal["required", "none"] | None = None
    shared_with: list[str] = []
    kind: Literal["documents", "memory"] = "documents"


class NewDocument(Struct, forbid_unknown_fields=True):
    """A document to store."""

    id: Annotated[str, Meta(min_length=1, max_length=512)]
    text: str
    title: str | None = None
    metadata: dict[str, Any] | None = None
    acl: Acl | None = None
    content_type: Literal["text/plain", "text/markdown"] | None = None


class NewDocuments(Struct, forbid_unknown_fields=True):
    """`POST /v1/collections/{c}/documents`."""

    documents: Annotated[list[NewDocument], Meta(min_length=1, max_length=1000)]


class Freshness(Struct, forbid_unknown_fields=True):
    """Scores halve with each `half_life_days` of the age that a metadata field says."""

    field: Annotated[str, Meta(min_length=1, max_length=128)]
    half_life_days: Annotated[float, Meta(gt=0, le=36_500)]


class Turn(Struct, forbid_unknown_fields=True):
    """Something that was said before the query."""

    role: Literal["user", "assistant"]
    text: Annotated[str, Meta(max_length=100_000)]


class Rewrite(Struct, forbid_unknown_fields=True):
    """How a model rewrites the query before it is searched for; the query is searched for too."""

    condense: bool = False
    wordings: Annotated[int, Meta(ge=0, le=5)] = 0
    hypothetical: bool = False
    turns: Annotated[list[Turn], Meta(max_length=64)] = []


class Search(Struct, forbid_unknown_fields=True):
    """`POST /v1/collections/{c}/search`. Hybrid results are reranked unless it says otherwise."""

    query: Annotated[str, Meta(min_length=1, max_length=8192)]
    top_k: Annotated[int, Meta(ge=1, le=100)] = 10
    mode: Literal["hybrid", "bm25", "vector"] = "hybrid"
    rerank: bool | None = None
    filter: dict[str, Any] | None = None
    explain: bool = False
    diversity: Annotated[float, Meta(ge=0, le=1)] = 0
    freshness: Freshness | None = None
    window: Annotated[int, Meta(ge=0, le=40)] = 0
    section: bool = False
    rewrite: Rewrite | None = None


_WAIT = frozenset({"wait"})
_PAGE = frozenset({"limit", "after"})
_new_collection = msgspec.json.Decoder(NewCollection)
_new_documents = msgspec.json.Decoder(NewDocuments)
_search = msgspec.json.Decoder(Search)


class CollectionsApi(RetrievalApi):
    """Collections, documents, search."""

    def __init__(
        self, services: Services, max_body_bytes: Callable[[], int], max_upload_bytes: Callable[[], int]
    ) -> None:
        super().__init__(services, max_body_bytes)
        self._max_upload_bytes = max_upload_bytes

    def routes(self) -> list[Route]:
        """The routes of this part."""
        return [
            Route("POST", "/v1/collections", self.create, body=NewCollection),
            Route("GET", "/v1/collections", self.list),
            Route("GET", ONE, self.get),
            Route("DELETE", ONE, self.delete),
            Route("POST", f"{ONE}/search", self.search, body=Search),
            Route("POST", f"{ONE}/documents", self.ingest, body=NewDocuments, files=FIELDS, query=_WAIT),
            Route("GET", f"{ONE}/documents", self.list_documents, query=_PAGE),
            Route("GET", f"{ONE}/documents/{{id*}}", self.get_document),
            Route("DELETE", f"{ONE}/documents/{{id*}}", self.delete_document),
        ]

    async def create(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Make a collection."""
        body = decode(_new_collection, await request.body(self._max_body_bytes()))
        wanted = pb.Collection(
            name=body.name,
            embedding=body.embedding or "",
            acl=_ACL[body.acl] if body.acl else pb.ACL_MODE_UNSPECIFIED,
            shared_with=body.shared_with,
            kind=_KINDS[body.kind],
        )
        made = await self._call(visit, "CreateCollection", pb.CreateCollectionRequest(collection=wanted))
        return json_response(_collection(made), visit.ctx, 201)

    async def list(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """The collections that the caller may read."""
        query(request.query, frozenset())
        found = await self._call(visit, "ListCollections", pb.ListCollectionsRequest())
        return json_response({"object": "list", "data": [_collection(entry) for entry in found.collections]}, visit.ctx)

    async def get(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """One of them."""
        found = await self._call(visit, "GetCollection", pb.GetCollectionRequest(name=parameters["collection"]))
        return json_response(_collection(found), visit.ctx)

    async def delete(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Remove one with its documents."""
        name = parameters["collection"]
        await self._call(visit, "DeleteCollection", pb.DeleteCollectionRequest(name=name))
        return json_response({"name": name, "deleted": True}, visit.ctx)

    async def ingest(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Store documents; `?wait=true` answers when they are searchable.

        Or files: `multipart/form-data` with 1 to 100 of them, and as fields `metadata` and `acl` (JSON, for all), `id`
        and `title` (for a single one). PDF, DOCX, PPTX, XLSX, HTML, e-mail, CSV, Markdown and text are read.
        """
        wait = flag(query(request.query, _WAIT), "wait")
        kind = request.header("content-type").partition(";")[0].strip().lower()
        if kind.startswith("multipart/"):
            form = read_form(request.header("content-type"), await request.body(self._max_upload_bytes()))
            request.follow_client()
            parts = form.parts(parameters["collection"], wait)
            stored = await self._call(visit, "IngestFiles", parts, timeout_s=_INGEST_S)
            return json_response({"job": stored.job, "accepted": stored.accepted}, visit.ctx, 200 if wait else 202)
        body = decode(_new_documents, await request.body(self._max_body_bytes()))
        request.follow_client()
        sent = pb.IngestRequest(
            collection=parameters["collection"],
            documents=[_document(entry, number) for number, entry in enumerate(body.documents)],
            wait=wait,
        )
        stored = await self._call(visit, "Ingest", sent, timeout_s=_INGEST_S)
        return json_response({"job": stored.job, "accepted": stored.accepted}, visit.ctx, 200 if wait else 202)

    async def list_documents(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Documents by id, `?limit=` of them from behind `?after=`."""
        asked = query(request.query, _PAGE)
        limit = whole_number(asked, "limit", 100, 1, 1000)
        found = await self._call(
            visit,
            "ListDocuments",
            pb.ListDocumentsRequest(collection=parameters["collection"], limit=limit, after=asked.get("after", "")),
        )
        return json_response({"object": "list", "data": [_info(entry) for entry in found.documents]}, visit.ctx)

    async def get_document(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """A document with the stored text that spans point into."""
        found = await self._call(
            visit,
            "GetDocument",
            pb.GetDocumentRequest(collection=parameters["collection"], document_id=parameters["id"]),
        )
        shown = {
            "id": found.id,
            "text": found.text,
            "title": found.title or None,
            "metadata": object_of(found.metadata),
            "acl": _acl(found.acl) if found.HasField("acl") else None,
            "content_type": found.content_type or None,
            "page_starts": list(found.page_starts),
        }
        return json_response(shown, visit.ctx)

    async def delete_document(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Remove a document."""
        sent = pb.DeleteDocumentRequest(collection=parameters["collection"], document_id=parameters["id"])
        await self._call(visit, "DeleteDocument", sent)
        return json_response({"id": parameters["id"], "deleted": True}, visit.ctx)

    async def search(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """Passages that the caller may read, best first."""
        body = decode(_search, await request.body(self._max_body_bytes()))
        request.follow_client()
        sent = pb.SearchRequest(
            collections=[parameters["collection"]],
            query=body.query,
            top_k=body.top_k,
            mode=_MODES[body.mode],
            rerank=body.mode == "hybrid" if body.rerank is None else body.rerank,
            filter=struct_of(body.filter, "filter"),
            explain=body.explain,
            diversity=body.diversity,
            window=body.window,
            section=body.section,
        )
        if body.freshness is not None:
            sent.freshness.field = body.freshness.field
            sent.freshness.half_life_s = body.freshness.half_life_days * 86_400
        if body.rewrite is not None:
            asked = body.rewrite
            turns = [pb.Turn(role=turn.role, text=turn.text) for turn in asked.turns]
            sent.rewrite.CopyFrom(
                pb.Rewrite(
                    condense=asked.condense, wordings=asked.wordings, hypothetical=asked.hypothetical, turns=turns
                )
            )
        found = await self._call(visit, "Search", sent)
        answer: dict[str, Any] = {"results": [_passage(entry) for entry in found.results]}
        if found.queries:
            answer["queries"] = list(found.queries)
        return json_response(answer, visit.ctx)


def _document(sent: NewDocument, number: int) -> pb.Document:
    return pb.Document(
        id=sent.id,
        text=sent.text,
        title=sent.title or "",
        metadata=struct_of(sent.metadata, f"documents[{number}].metadata"),
        acl=pb.Acl(users=sent.acl.users, groups=sent.acl.groups, public=sent.acl.public) if sent.acl else None,
        content_type=sent.content_type or "",
    )


def _collection(found: pb.Collection) -> dict[str, Any]:
    return {
        "name": found.name,
        "tenant": found.tenant,
        "embedding": found.embedding,
        "acl": _ACL_NAMES.get(found.acl, ""),
        "shared_with": list(found.shared_with),
        "epoch": found.epoch,
        "created_at": time_text(found, "created_at"),
        "kind": _KIND_NAMES.get(found.kind, "documents"),
    }


def _acl(found: pb.Acl) -> dict[str, Any]:
    return {"users": list(found.users), "groups": list(found.groups), "public": found.public}


def _info(found: pb.DocumentInfo) -> dict[str, Any]:
    return {
        "id": found.id,
        "title": found.title or None,
        "metadata": object_of(found.metadata),
        "acl": _acl(found.acl) if found.HasField("acl") else None,
        "characters": found.characters,
        "chunks": found.chunks,
        "searchable": found.searchable,
        "updated_at": time_text(found, "updated_at"),
    }


def _passage(found: pb.Passage) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "collection": found.collection,
        "document_id": found.document_id,
        "chunk_id": found.chunk_id,
        "title": found.title or None,
        "score": found.score,
        "text": found.text,
        "span": {"start": found.start, "end": found.end},
        "metadata": object_of(found.metadata),
    }
    if found.page:
        shown["page"] = found.page
        shown["page_breaks"] = list(found.page_breaks)
    if found.scores:
        shown["scores"] = dict(found.scores)
    return shown
