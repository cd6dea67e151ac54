"""The retrieval service as the pipeline's retriever."""

from __future__ import annotations

from headrace_gateway.adapters.peers import outbound
from headrace_gateway.ports import Envelope
from headrace_kit.rpc import Peer
from headrace_protos.retrieval.v1 import messages_pb2 as pb
from headrace_protos.retrieval.v1 import service_pb2_grpc


class RetrievalClient:
    """Speaks to retrieval over one channel."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.stub = peer.stub(service_pb2_grpc.RetrievalServiceStub)

    async def search(self, request: pb.SearchRequest, sent: Envelope) -> pb.SearchResponse:
        """See `Retriever`."""
        return await self.peer.unary(self.stub.Search, request, outbound(sent))  # type: ignore[no-any-return]
