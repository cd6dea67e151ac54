"""Calls that a request makes to a service which does the whole job: the gateway adds who asks, and passes on."""

from __future__ import annotations

from typing import Any

from headrace_gateway.adapters.peers import outbound
from headrace_gateway.context import RequestContext
from headrace_gateway.ports import envelope
from headrace_kit.rpc import Peer
from headrace_protos.guardrails.v1 import service_pb2_grpc as guardrails
from headrace_protos.inference.v1 import service_pb2_grpc as inference
from headrace_protos.retrieval.v1 import service_pb2_grpc as retrieval
from headrace_protos.rollout.v1 import service_pb2_grpc as rollout
from headrace_protos.tracing.v1 import console_pb2 as pb
from headrace_protos.tracing.v1 import console_pb2_grpc as console
from headrace_protos.tracing.v1 import service_pb2_grpc as tracing

_TIMEOUT_S = 30.0


class Services:
    """The services that the public API forwards to.

    Args:
        peers: connections by service.
    """

    def __init__(self, peers: dict[str, Peer]) -> None:
        self._peers = peers
        self._console: Any = peers["tracing"].stub(console.ConsoleServiceStub)
        self._stubs: dict[str, tuple[Any, ...]] = {
            "inference": (peers["inference"].stub(inference.InferenceServiceStub),),
            "retrieval": (
                peers["retrieval"].stub(retrieval.RetrievalServiceStub),
                peers["retrieval"].stub(retrieval.MemoryServiceStub),
            ),
            "guardrails": (peers["guardrails"].stub(guardrails.GuardrailsServiceStub),),
            "tracing": (peers["tracing"].stub(tracing.TracingServiceStub),),
            "rollout": (peers["rollout"].stub(rollout.RolloutServiceStub),),
        }

    async def call(
        self, ctx: RequestContext, service: str, method: str, request: Any, *, timeout_s: float = _TIMEOUT_S
    ) -> Any:
        """Call `method` of `service` for the request's caller, at most `timeout_s` after the request's arrival.

        Raises:
            HeadraceError: what the service answered; `Upstream` when it cannot be reached.
        """
        ctx.limit(timeout_s)
        stub = next(found for part in self._stubs[service] if (found := getattr(part, method, None)) is not None)
        return await self._call(ctx, service, stub, method, request)

    async def console_file(self, ctx: RequestContext, request: pb.GetFileRequest) -> pb.GetFileResponse:
        """A file of the console. Raises as `call`."""
        ctx.limit(_TIMEOUT_S)
        found: pb.GetFileResponse = await self._call(ctx, "tracing", self._console.GetFile, "GetFile", request)
        return found

    async def _call(self, ctx: RequestContext, service: str, stub: Any, method: str, request: Any) -> Any:
        with ctx.stage(f"{service} {method}") as hop:
            sent = outbound(envelope(ctx, hop))
            return await self._peers[service].unary(stub, request, sent)
