"""The retrieval service as the pipeline's retriever and memory, and as the cache's teller of epochs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headrace_gateway.adapters.peers import outbound
from headrace_gateway.ports import Envelope
from headrace_kit.rpc import Peer
from headrace_protos.retrieval.v1 import memory_pb2 as memory
from headrace_protos.retrieval.v1 import messages_pb2 as pb
from headrace_protos.retrieval.v1 import service_pb2_grpc


class RetrievalClient:
    """Speaks to retrieval over one channel."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.stub = peer.stub(service_pb2_grpc.RetrievalServiceStub)
        self.memory = peer.stub(service_pb2_grpc.MemoryServiceStub)

    async def search(self, request: pb.SearchRequest, sent: Envelope) -> pb.SearchResponse:
        """See `Retriever`."""
        return await self.peer.unary(self.stub.Search, request, outbound(sent))  # type: ignore[no-any-return]

    async def epochs(self, collections: Sequence[str], sent: Envelope) -> dict[str, int]:
        """See `Epochs`."""
        with_identity = outbound(sent)
        found = await asyncio.gather(
            *(
                self.peer.unary(self.stub.GetCollection, pb.GetCollectionRequest(name=name), with_identity)
                for name in collections
            )
        )
        return {name: collection.epoch for name, collection in zip(collections, found, strict=True)}

    async def conversation(self, request: memory.GetConversationRequest, sent: Envelope) -> memory.Conversation:
        """See `Memory`."""
        return await self.peer.unary(self.memory.GetConversation, request, outbound(sent))  # type: ignore[no-any-return]

    async def append(self, request: memory.AppendTurnsRequest, sent: Envelope) -> memory.Conversation:
        """See `Memory`."""
        return await self.peer.unary(self.memory.AppendTurns, request, outbound(sent))  # type: ignore[no-any-return]
