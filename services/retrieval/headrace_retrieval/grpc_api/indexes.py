"""Index versions over gRPC."""

from __future__ import annotations

from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.retrieval.v1 import indexes_pb2
from headrace_protos.retrieval.v1 import messages_pb2 as pb
from headrace_retrieval.domain.model import IndexVersion, Job
from headrace_retrieval.domain.reindexing import Reindexing
from headrace_retrieval.grpc_api.jobs import shown_job
from headrace_retrieval.grpc_api.values import CALLERS, caller_of, time_of


class IndexCalls:
    """The part of the servicer that is about index versions."""

    rpc_runtime: RpcRuntime
    _reindexing: Reindexing

    @rpc(callers=CALLERS)
    async def ListIndexes(self, request: indexes_pb2.ListIndexesRequest, call: Call) -> indexes_pb2.ListIndexesResponse:
        """How a collection is cut and embedded."""
        found = await self._reindexing.versions(caller_of(call), request.collection)
        return indexes_pb2.ListIndexesResponse(indexes=[_version(one, job) for one, job in found])

    @rpc(callers=CALLERS)
    async def Reindex(self, request: indexes_pb2.ReindexRequest, call: Call) -> pb.Job:
        """Build another index version."""
        return shown_job(
            await self._reindexing.build(
                caller_of(call),
                request.collection,
                request.embedding,
                request.max_tokens,
                request.overlap_tokens if request.HasField("overlap_tokens") else None,
                request.again,
            )
        )

    @rpc(callers=CALLERS)
    async def CancelReindex(
        self, request: indexes_pb2.CancelReindexRequest, call: Call
    ) -> indexes_pb2.CancelReindexResponse:
        """Give up the one that is being built."""
        await self._reindexing.cancel(caller_of(call), request.collection)
        return indexes_pb2.CancelReindexResponse()


def _version(one: IndexVersion, job: Job | None) -> indexes_pb2.IndexVersion:
    made = indexes_pb2.IndexVersion(
        embedding=one.spec.embedding,
        max_tokens=one.spec.max_tokens,
        overlap_tokens=one.spec.overlap_tokens,
        state="building" if one.building else "active",
        created_at=time_of(one.created_at),
    )
    if job is not None:
        made.job.CopyFrom(shown_job(job))
        made.job.ClearField("errors")
    return made
