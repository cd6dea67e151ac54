"""Sources over gRPC."""

from __future__ import annotations

from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.retrieval.v1 import sources_pb2 as pb
from headrace_retrieval.domain.source_calls import Sources
from headrace_retrieval.domain.sources import SourceState
from headrace_retrieval.grpc_api.values import CALLERS, caller_of, time_of


class SourceCalls:
    """The part of the servicer that is about sources."""

    rpc_runtime: RpcRuntime
    _sources: Sources

    @rpc(callers=CALLERS)
    async def ListSources(self, request: pb.ListSourcesRequest, call: Call) -> pb.ListSourcesResponse:
        """A collection's sources, and how they stand."""
        found = await self._sources.all(caller_of(call), request.collection)
        return pb.ListSourcesResponse(sources=[_source(state) for state in found])

    @rpc(callers=CALLERS)
    async def SyncSource(self, request: pb.SyncSourceRequest, call: Call) -> pb.Source:
        """Synchronise a source, and with `wait` answer when that is done."""
        caller = caller_of(call)
        state = await self._sources.sync(caller, request.collection, request.source)
        if request.wait:
            state = await self._sources.wait(caller, request.collection, request.source, call.remaining_s())
        return _source(state)

    @rpc(callers=CALLERS)
    async def ListRefusals(self, request: pb.ListRefusalsRequest, call: Call) -> pb.ListRefusalsResponse:
        """Entries of a source that are no documents, and why."""
        found = await self._sources.refusals(
            caller_of(call), request.collection, request.source, request.after, request.limit
        )
        return pb.ListRefusalsResponse(refusals=[pb.Refusal(key=key, reason=reason) for key, reason in found])


def _source(state: SourceState) -> pb.Source:
    counts = state.counts
    return pb.Source(
        name=state.name,
        kind=state.kind,
        every_s=state.every_s or 0,
        state=state.state,
        run=state.run,
        started_at=time_of(state.started_at) if state.started_at else None,
        finished_at=time_of(state.finished_at) if state.finished_at else None,
        error=state.error,
        seen=counts.seen,
        added=counts.added,
        changed=counts.changed,
        unchanged=counts.unchanged,
        removed=counts.removed,
        refused=counts.refused,
    )
