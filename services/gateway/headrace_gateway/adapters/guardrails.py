"""The guardrails service over one channel, and its candidate release over another."""

from __future__ import annotations

from collections.abc import Callable

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


class GuardrailsCandidate:
    """The client of the candidate release, where there is one.

    Args:
        peer: the connection to where it is now; None where there is none.
    """

    def __init__(self, peer: Callable[[], Peer | None]) -> None:
        self._peer = peer
        self._known: tuple[Peer, GuardrailsClient] | None = None

    def __call__(self) -> GuardrailsClient | None:
        """It, or None."""
        peer = self._peer()
        if peer is None:
            return None
        if self._known is None or self._known[0] is not peer:
            self._known = (peer, GuardrailsClient(peer))
        return self._known[1]
