"""`headrace.retrieval.v1` for the public."""

from __future__ import annotations

from typing import Any

from headrace_gateway.admission.door import Door
from headrace_gateway.grpc_api.passed import passing
from headrace_gateway.grpc_api.visits import visiting
from headrace_gateway.people import erase_person
from headrace_gateway.ports import Services
from headrace_kit.hosting import Servicing
from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.retrieval.v1 import memory_pb2, service_pb2, service_pb2_grpc

_SLOW = frozenset({"Ingest", "IngestFiles", "SyncSource", "StoreFacts", "AppendTurns"})
"""What may wait until documents are searchable, or for a model."""

_READ = ("Get", "List")


PassedRetrieval = passing(
    service_pb2.DESCRIPTOR.services_by_name["RetrievalService"],
    service_pb2_grpc.RetrievalServiceServicer,
    "retrieval",
    slow=_SLOW,
    untraced=_READ,
)
_PassedMemory: Any = passing(
    service_pb2.DESCRIPTOR.services_by_name["MemoryService"],
    service_pb2_grpc.MemoryServiceServicer,
    "retrieval",
    slow=_SLOW,
    untraced=_READ,
)


class PassedMemory(_PassedMemory):  # type: ignore[misc]  # made from the descriptor
    """Erasing is more than retrieval's: it reaches all that keeps something of a person."""

    @rpc(public=True)
    async def EraseMemory(self, request: memory_pb2.EraseMemoryRequest, call: Call) -> memory_pb2.EraseMemoryResponse:
        """See the proto."""
        async with visiting(self._door, call, self.service, traced=False) as visit:
            return await erase_person(self._services, visit.ctx, request)


def servicing(runtime: RpcRuntime, door: Door, services: Services) -> list[Servicing]:
    """The servicers for a host to add."""
    return [
        Servicing(
            service_pb2_grpc.add_RetrievalServiceServicer_to_server,
            PassedRetrieval(runtime, door, services),
            PassedRetrieval.service,
        ),
        Servicing(
            service_pb2_grpc.add_MemoryServiceServicer_to_server,
            PassedMemory(runtime, door, services),
            PassedMemory.service,
        ),
    ]
