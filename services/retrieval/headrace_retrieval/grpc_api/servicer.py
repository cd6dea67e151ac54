"""`RetrievalService` over gRPC: decode, call the domain, encode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from opentelemetry import trace

from headrace_kit.errors import BadInput, Forbidden
from headrace_kit.hosting import Servicing
from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.retrieval.v1 import messages_pb2 as pb
from headrace_protos.retrieval.v1 import service_pb2_grpc
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.files import collect
from headrace_retrieval.domain.ingest import Ingest
from headrace_retrieval.domain.jobs import Jobs
from headrace_retrieval.domain.metadata import compile_filter
from headrace_retrieval.domain.model import (
    DOCUMENTS,
    MEMORY,
    CollectionSpec,
    IndexSpec,
    Mode,
    Query,
)
from headrace_retrieval.domain.reindexing import Reindexing
from headrace_retrieval.domain.search import DEFAULT_TOP_K, Search
from headrace_retrieval.domain.source_calls import Sources
from headrace_retrieval.grpc_api.indexes import IndexCalls
from headrace_retrieval.grpc_api.jobs import JobCalls
from headrace_retrieval.grpc_api.sources import SourceCalls
from headrace_retrieval.grpc_api.values import (
    CALLERS,
    caller_of,
    documents_of,
    freshness_of,
    parts_of,
    plain,
    rewrite_of,
    shown_acl,
    shown_collection,
    shown_info,
    shown_passage,
    struct_of,
    usage_of,
)

_MODES = {
    pb.SEARCH_MODE_UNSPECIFIED: Mode.HYBRID,
    pb.SEARCH_MODE_HYBRID: Mode.HYBRID,
    pb.SEARCH_MODE_BM25: Mode.BM25,
    pb.SEARCH_MODE_VECTOR: Mode.VECTOR,
}


@dataclass(frozen=True)
class Services:
    """What the servicer calls.

    `new_index` says how a tenant's collection is cut and embedded, `max_file_bytes` how large an upload may be.
    """

    collections: Collections
    ingest: Ingest
    jobs: Jobs
    sources: Sources
    search: Search
    reindexing: Reindexing
    new_index: Callable[[str, str], IndexSpec]
    max_file_bytes: Callable[[], int]


class RetrievalServicer(JobCalls, SourceCalls, IndexCalls, service_pb2_grpc.RetrievalServiceServicer):
    """See the proto for what each call does."""

    def __init__(self, rpc_runtime: RpcRuntime, services: Services) -> None:
        self.rpc_runtime = rpc_runtime
        self._collections = services.collections
        self._ingest = services.ingest
        self._jobs = services.jobs
        self._sources = services.sources
        self._search = services.search
        self._reindexing = services.reindexing
        self._new_index = services.new_index
        self._max_file_bytes = services.max_file_bytes

    @rpc(callers=CALLERS)
    async def CreateCollection(self, request: pb.CreateCollectionRequest, call: Call) -> pb.Collection:
        """Make a collection of the caller's tenant."""
        caller, wanted = caller_of(call), request.collection
        if wanted.tenant not in ("", caller.tenant):
            raise Forbidden("a collection is made for the key's own tenant", param="collection.tenant")
        memory = wanted.kind == pb.COLLECTION_KIND_MEMORY
        if memory and (wanted.acl == pb.ACL_MODE_NONE or wanted.shared_with):
            field = "shared_with" if wanted.shared_with else "acl"
            raise BadInput("what a memory keeps is each person's own: leave it out", param=f"collection.{field}")
        spec = CollectionSpec(
            tenant=caller.tenant,
            name=wanted.name,
            acl_required=memory or wanted.acl == pb.ACL_MODE_REQUIRED,
            shared_with=tuple(sorted(set(wanted.shared_with))),
            index=self._new_index(caller.tenant, wanted.embedding),
            kind=MEMORY if memory else DOCUMENTS,
        )
        return shown_collection(await self._collections.create(spec))

    @rpc(callers=CALLERS)
    async def GetCollection(self, request: pb.GetCollectionRequest, call: Call) -> pb.Collection:
        """One collection."""
        return shown_collection(await self._collections.get(caller_of(call), request.name))

    @rpc(callers=CALLERS)
    async def ListCollections(self, request: pb.ListCollectionsRequest, call: Call) -> pb.ListCollectionsResponse:
        """All that the tenant owns or shares."""
        found = await self._collections.all(caller_of(call))
        return pb.ListCollectionsResponse(collections=[shown_collection(collection) for collection in found])

    @rpc(callers=CALLERS)
    async def DeleteCollection(self, request: pb.DeleteCollectionRequest, call: Call) -> pb.DeleteCollectionResponse:
        """Remove a collection with its documents."""
        await self._collections.delete(caller_of(call), request.name)
        return pb.DeleteCollectionResponse()

    @rpc(callers=CALLERS)
    async def Ingest(self, request: pb.IngestRequest, call: Call) -> pb.IngestResponse:
        """Store documents, and with `wait` answer when they are searchable."""
        caller = caller_of(call)
        job = await self._ingest.accept(
            caller,
            request.collection,
            [document.id for document in request.documents],
            lambda collection: documents_of(request.documents, collection),
        )
        if request.wait:
            await self._ingest.wait(caller, job, call.remaining_s())
        return pb.IngestResponse(job=str(job), accepted=len(request.documents))

    @rpc(callers=CALLERS)
    async def IngestFiles(self, request: AsyncIterator[pb.IngestFilesRequest], call: Call) -> pb.IngestResponse:
        """Read files, store them as documents, and with `wait` answer when they are searchable."""
        caller = caller_of(call)
        upload = await collect(parts_of(request), self._max_file_bytes())
        job = await self._ingest.accept_files(caller, upload)
        if upload.wait:
            await self._ingest.wait(caller, job, call.remaining_s())
        return pb.IngestResponse(job=str(job), accepted=len(upload.files))

    @rpc(callers=CALLERS)
    async def GetDocument(self, request: pb.GetDocumentRequest, call: Call) -> pb.Document:
        """The stored text that spans point into."""
        found = await self._ingest.get(caller_of(call), request.collection, request.document_id)
        return pb.Document(
            id=found.id,
            text=found.text,
            title=found.title,
            metadata=struct_of(found.metadata),
            acl=shown_acl(found.acl),
            content_type=found.content_type,
            page_starts=found.page_starts,
        )

    @rpc(callers=CALLERS)
    async def ListDocuments(self, request: pb.ListDocumentsRequest, call: Call) -> pb.ListDocumentsResponse:
        """Documents that the caller may read."""
        found = await self._ingest.page(caller_of(call), request.collection, request.after, request.limit)
        return pb.ListDocumentsResponse(documents=[shown_info(info) for info in found])

    @rpc(callers=CALLERS)
    async def DeleteDocument(self, request: pb.DeleteDocumentRequest, call: Call) -> pb.DeleteDocumentResponse:
        """Remove a document."""
        await self._ingest.delete(caller_of(call), request.collection, request.document_id)
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
            filter=compile_filter(plain(request.filter)),
            diversity=request.diversity,
            freshness=freshness_of(request),
            window=request.window,
            section=request.section,
            rewrite=rewrite_of(request),
        )
        found = await self._search(caller_of(call), query)
        trace.get_current_span().set_attributes(
            {
                "headrace.retrieval.mode": query.mode.value,
                "headrace.retrieval.results": len(found.hits),
                "headrace.retrieval.degraded": sorted(found.degraded),
            }
        )
        return pb.SearchResponse(
            results=[shown_passage(hit, request.explain) for hit in found.hits],
            epochs=dict(found.epochs),
            queries=found.queries if request.explain else (),
            rewriting=usage_of(found.rewriting),
        )


def servicing(runtime: RpcRuntime, services: Services) -> Servicing:
    """The servicer for a host to add."""
    return Servicing(
        service_pb2_grpc.add_RetrievalServiceServicer_to_server,
        RetrievalServicer(runtime, services),
        "headrace.retrieval.v1.RetrievalService",
    )
