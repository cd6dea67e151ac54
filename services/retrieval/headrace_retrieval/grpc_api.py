"""`RetrievalService` over gRPC: decode, call the domain, encode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from google.protobuf import json_format, struct_pb2, timestamp_pb2
from opentelemetry import trace

from headrace_kit.errors import BadInput, Forbidden, NotFound
from headrace_kit.hosting import Servicing
from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.retrieval.v1 import messages_pb2 as pb
from headrace_protos.retrieval.v1 import service_pb2_grpc
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.documents import check
from headrace_retrieval.domain.files import File, Part, Target, collect
from headrace_retrieval.domain.ingest import Ingest
from headrace_retrieval.domain.metadata import compile_filter
from headrace_retrieval.domain.model import (
    Collection,
    CollectionSpec,
    DocumentInfo,
    Hit,
    IndexSpec,
    Mode,
    NewDocument,
    Query,
)
from headrace_retrieval.domain.rights import READ_ALL, Acl, Caller
from headrace_retrieval.domain.search import DEFAULT_TOP_K, Search

CALLERS = frozenset({"gateway"})
_MODES = {
    pb.SEARCH_MODE_UNSPECIFIED: Mode.HYBRID,
    pb.SEARCH_MODE_HYBRID: Mode.HYBRID,
    pb.SEARCH_MODE_BM25: Mode.BM25,
    pb.SEARCH_MODE_VECTOR: Mode.VECTOR,
}


@dataclass(frozen=True)
class Services:
    """What the servicer calls.

    `new_index` says how a collection made by API is cut and embedded, `max_file_bytes` how large an upload may be.
    """

    collections: Collections
    ingest: Ingest
    search: Search
    new_index: Callable[[str], IndexSpec]
    max_file_bytes: Callable[[], int]


class RetrievalServicer(service_pb2_grpc.RetrievalServiceServicer):
    """See the proto for what each call does."""

    def __init__(self, rpc_runtime: RpcRuntime, services: Services) -> None:
        self.rpc_runtime = rpc_runtime
        self._collections = services.collections
        self._ingest = services.ingest
        self._search = services.search
        self._new_index = services.new_index
        self._max_file_bytes = services.max_file_bytes

    @rpc(callers=CALLERS)
    async def CreateCollection(self, request: pb.CreateCollectionRequest, call: Call) -> pb.Collection:
        """Make a collection of the caller's tenant."""
        caller, wanted = _caller(call), request.collection
        if wanted.tenant not in ("", caller.tenant):
            raise Forbidden("a collection is made for the key's own tenant", param="collection.tenant")
        spec = CollectionSpec(
            tenant=caller.tenant,
            name=wanted.name,
            acl_required=wanted.acl == pb.ACL_MODE_REQUIRED,
            shared_with=tuple(sorted(set(wanted.shared_with))),
            index=self._new_index(wanted.embedding),
        )
        return _collection(await self._collections.create(spec))

    @rpc(callers=CALLERS)
    async def GetCollection(self, request: pb.GetCollectionRequest, call: Call) -> pb.Collection:
        """One collection."""
        return _collection(await self._collections.get(_caller(call), request.name))

    @rpc(callers=CALLERS)
    async def ListCollections(self, request: pb.ListCollectionsRequest, call: Call) -> pb.ListCollectionsResponse:
        """All that the tenant owns or shares."""
        found = await self._collections.all(_caller(call))
        return pb.ListCollectionsResponse(collections=[_collection(collection) for collection in found])

    @rpc(callers=CALLERS)
    async def DeleteCollection(self, request: pb.DeleteCollectionRequest, call: Call) -> pb.DeleteCollectionResponse:
        """Remove a collection with its documents."""
        await self._collections.delete(_caller(call), request.name)
        return pb.DeleteCollectionResponse()

    @rpc(callers=CALLERS)
    async def Ingest(self, request: pb.IngestRequest, call: Call) -> pb.IngestResponse:
        """Store documents, and with `wait` answer when they are searchable."""
        caller = _caller(call)
        job = await self._ingest.accept(
            caller,
            request.collection,
            [document.id for document in request.documents],
            lambda collection: _documents(request.documents, collection),
        )
        if request.wait:
            await self._ingest.wait(caller, job, call.remaining_s())
        return pb.IngestResponse(job=str(job), accepted=len(request.documents))

    @rpc(callers=CALLERS)
    async def IngestFiles(self, request: AsyncIterator[pb.IngestFilesRequest], call: Call) -> pb.IngestResponse:
        """Read files, store them as documents, and with `wait` answer when they are searchable."""
        caller = _caller(call)
        upload = await collect(_parts(request), self._max_file_bytes())
        job = await self._ingest.accept_files(caller, upload)
        if upload.wait:
            await self._ingest.wait(caller, job, call.remaining_s())
        return pb.IngestResponse(job=str(job), accepted=len(upload.files))

    @rpc(callers=CALLERS)
    async def GetJob(self, request: pb.GetJobRequest, call: Call) -> pb.Job:
        """How far an ingestion is."""
        try:
            id = UUID(request.job)
        except ValueError:
            raise NotFound(f"there is no job {request.job!r}", param="job") from None
        job = await self._ingest.job(_caller(call), id)
        return pb.Job(
            id=str(job.id),
            collection=job.collection,
            state=job.state,
            documents=job.documents,
            done=job.done,
            errors=[pb.JobError(document_id=document, message=message) for document, message in job.errors],
        )

    @rpc(callers=CALLERS)
    async def GetDocument(self, request: pb.GetDocumentRequest, call: Call) -> pb.Document:
        """The stored text that spans point into."""
        found = await self._ingest.get(_caller(call), request.collection, request.document_id)
        return pb.Document(
            id=found.id,
            text=found.text,
            title=found.title,
            metadata=_struct(found.metadata),
            acl=_acl(found.acl),
            content_type=found.content_type,
            page_starts=found.page_starts,
        )

    @rpc(callers=CALLERS)
    async def ListDocuments(self, request: pb.ListDocumentsRequest, call: Call) -> pb.ListDocumentsResponse:
        """Documents that the caller may read."""
        found = await self._ingest.page(_caller(call), request.collection, request.after, request.limit)
        return pb.ListDocumentsResponse(documents=[_info(info) for info in found])

    @rpc(callers=CALLERS)
    async def DeleteDocument(self, request: pb.DeleteDocumentRequest, call: Call) -> pb.DeleteDocumentResponse:
        """Remove a document."""
        await self._ingest.delete(_caller(call), request.collection, request.document_id)
        return pb.DeleteDocumentResponse()

    @rpc(callers=CALLERS)
    async def Search(self, request: pb.SearchRequest, call: Call) -> pb.SearchResponse:
        """Passages that the caller may read, best first."""
        query = Query(
            collections=tuple(request.collections),
            text=request.query,
            top_k=request.top_k or DEFAULT_TOP_K,
            mode=_MODES.get(request.mode, Mode.HYBRID),
            rerank=request.rerank,
            filter=compile_filter(_plain(request.filter)),
        )
        found = await self._search(_caller(call), query)
        trace.get_current_span().set_attributes(
            {
                "headrace.retrieval.mode": query.mode.value,
                "headrace.retrieval.results": len(found.hits),
                "headrace.retrieval.degraded": sorted(found.degraded),
            }
        )
        return pb.SearchResponse(
            results=[_passage(hit, request.explain) for hit in found.hits], epochs=dict(found.epochs)
        )


def servicing(runtime: RpcRuntime, services: Services) -> Servicing:
    """The servicer for a host to add."""
    return Servicing(
        service_pb2_grpc.add_RetrievalServiceServicer_to_server,
        RetrievalServicer(runtime, services),
        "headrace.retrieval.v1.RetrievalService",
    )


def _caller(call: Call) -> Caller:
    identity = call.caller
    if not identity.tenant:
        raise Forbidden("documents belong to tenants: call on behalf of one")
    if any("\0" in name for name in (identity.user, *identity.groups)):
        raise BadInput("users and groups have no NUL characters in their names", param="headrace.user")
    return Caller(identity.tenant, identity.user, tuple(identity.groups), READ_ALL in identity.scopes)


def _documents(sent: Sequence[pb.Document], collection: Collection) -> list[NewDocument]:
    return [
        check(
            id=document.id,
            text=document.text,
            title=document.title,
            content_type=document.content_type,
            metadata=_plain(document.metadata),
            acl=_acl_sent(document),
            acl_required=collection.spec.acl_required,
            param=f"documents[{position}]",
        )
        for position, document in enumerate(sent)
    ]


async def _parts(sent: AsyncIterator[pb.IngestFilesRequest]) -> AsyncIterator[Part]:
    async for message in sent:
        match message.WhichOneof("part"):
            case "target":
                yield Target(message.target.collection, message.target.wait)
            case "file":
                one = message.file
                yield File(one.id, one.name, one.title, one.content_type, _plain(one.metadata), _acl_sent(one), b"")
            case "data":
                yield message.data
            case _:
                raise BadInput("a part is a target, a file or data", param="part")


def _acl_sent(document: pb.Document | pb.FileHeader) -> Acl | None:
    if not document.HasField("acl"):
        return None
    return Acl(tuple(document.acl.users), tuple(document.acl.groups), document.acl.public)


def _acl(acl: Acl | None) -> pb.Acl | None:
    return None if acl is None else pb.Acl(users=acl.users, groups=acl.groups, public=acl.public)


def _collection(collection: Collection) -> pb.Collection:
    spec = collection.spec
    created = timestamp_pb2.Timestamp()
    created.FromDatetime(collection.created_at)
    return pb.Collection(
        name=spec.name,
        tenant=spec.tenant,
        embedding=spec.index.embedding,
        acl=pb.ACL_MODE_REQUIRED if spec.acl_required else pb.ACL_MODE_NONE,
        shared_with=spec.shared_with,
        epoch=collection.epoch,
        created_at=created,
    )


def _info(info: DocumentInfo) -> pb.DocumentInfo:
    updated = timestamp_pb2.Timestamp()
    updated.FromDatetime(info.updated_at)
    return pb.DocumentInfo(
        id=info.id,
        title=info.title,
        metadata=_struct(info.metadata),
        acl=_acl(info.acl),
        characters=info.characters,
        chunks=info.chunks,
        searchable=info.searchable,
        updated_at=updated,
    )


def _passage(hit: Hit, explain: bool) -> pb.Passage:
    passage = hit.passage
    return pb.Passage(
        collection=hit.collection,
        document_id=passage.document_id,
        chunk_id=str(passage.chunk_id),
        title=passage.title,
        score=hit.score,
        text=passage.text,
        start=passage.start,
        end=passage.end,
        page=passage.page or 0,
        metadata=_struct(passage.metadata),
        scores=hit.scores if explain else None,
        page_breaks=passage.page_breaks,
    )


def _plain(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct's content. Numbers that JSON has no word for are kept, for the domain to refuse."""
    return {key: _value(value) for key, value in struct.fields.items()}


def _value(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind in (None, "null_value"):
        return None
    if kind == "struct_value":
        return _plain(value.struct_value)
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    return getattr(value, kind)


def _struct(metadata: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    json_format.ParseDict(dict(metadata), struct)
    return struct
