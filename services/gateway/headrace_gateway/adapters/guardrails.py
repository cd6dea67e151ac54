"""The guardrails service over one channel."""

from __future__ import annotations

from headrace_gateway.adapters.peers import outbound
from headrace_gateway.ports import Envelope
from headrace_kit.rpc import Identity, Outbound, Peer
from headrace_protos.guardrails.v1 import messages_pb2 as pb
from headrace_protos.guardrails.v1 import service_pb2_grpc

_RECORD_S = 5.0
_ME = Identity("gateway")


class GuardrailsClient:
    """Fulfils `guarding.remote.Guardrails`."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._stub = peer.stub(service_pb2_grpc.GuardrailsServiceStub)

    async def check(self, request: pb.CheckRequest, sent: Envelope) -> pb.CheckResponse:
        """See `Guardrails`."""
        return await self._peer.unary(self._stub.Check, request, outbound(sent))  # type: ignore[no-any-return]

    async def record(self, request: pb.RecordDecisionsRequest) -> None:
        """See `Guardrails`."""
        await self._peer.unary(self._stub.RecordDecisions, request, Outbound(_ME).within(_RECORD_S))
