"""`headrace.retrieval.v1` for the public: each call is let in by its key, and passed on with the caller's identity."""

from __future__ import annotations

from typing import Any

from headrace_gateway.admission.door import Door
from headrace_gateway.grpc_api.visits import visiting
from headrace_gateway.people import erase_person
from headrace_gateway.ports import Services
from headrace_kit.hosting import Servicing
from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.retrieval.v1 import memory_pb2, service_pb2, service_pb2_grpc

_TIMEOUT_S = 30.0
_SLOW_S = 600.0
_SLOW = frozenset({"Ingest", "IngestFiles", "SyncSource", "StoreFacts", "AppendTurns"})
"""What may wait until documents are searchable, or for a model."""

_READ = ("Get", "List")


class Passed:
    """Passes calls on. A class for each service is made from it by `_passing`."""

    service = ""

    def __init__(self, runtime: RpcRuntime, door: Door, services: Services) -> None:
        self.rpc_runtime = runtime
        self._door = door
        self._services = services


def _method(name: str) -> Any:
    async def passed(self: Passed, request: Any, call: Call) -> Any:
        async with visiting(self._door, call, self.service, traced=not name.startswith(_READ)) as visit:
            limit_s = _SLOW_S if name in _SLOW else _TIMEOUT_S
            return await self._services.call(visit.ctx, "retrieval", name, request, timeout_s=limit_s)

    passed.__name__ = name
    passed.__doc__ = "See the proto."
    return rpc(public=True)(passed)


def _passing(service: Any, base: type) -> type[Passed]:
    """A servicer that passes every method of `service` on."""
    methods = {method.name: _method(method.name) for method in service.methods}
    return type(f"Passed{service.name}", (Passed, base), {"service": service.full_name, **methods})


PassedRetrieval = _passing(
    service_pb2.DESCRIPTOR.services_by_name["RetrievalService"], service_pb2_grpc.RetrievalServiceServicer
)
_PassedMemory: Any = _passing(
    service_pb2.DESCRIPTOR.services_by_name["MemoryService"], service_pb2_grpc.MemoryServiceServicer
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
