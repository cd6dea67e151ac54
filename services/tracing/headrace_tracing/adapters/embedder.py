"""The inference service, which embeds questions."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Sequence

from headrace_kit.errors import NotReady, Upstream
from headrace_kit.rpc import Identity, Peer
from headrace_kit.rpc.client import Outbound
from headrace_protos.inference.v1 import messages_pb2, service_pb2_grpc

IDEMPOTENT = ("/headrace.inference.v1.InferenceService/Embed",)
LIMIT_S = 60.0
"""How long one call may take."""


class InferenceEmbedder:
    """`Embedder` over gRPC."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._stub = peer.stub(service_pb2_grpc.InferenceServiceStub)

    async def embed(self, deployment: str, texts: Sequence[str], tenant: str) -> list[bytes]:
        """See the port."""
        request = messages_pb2.EmbedRequest(deployment=deployment, texts=texts, truncate=True)
        # Not traced: what is done for the traces is no trace among them.
        unsampled = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
        outbound = Outbound(Identity(service="tracing", tenant=tenant), traceparent=unsampled).within(LIMIT_S)
        try:
            answer = await self._peer.unary(self._stub.Embed, request, outbound)
        except NotReady as error:
            raise Upstream(f"{deployment} is not ready to embed") from error
        vectors = [embedding.vector for embedding in answer.embeddings]
        if len(vectors) != len(texts) or any(not vector or len(vector) != len(vectors[0]) for vector in vectors):
            raise Upstream(f"{deployment} answered {len(vectors)} vectors for {len(texts)} texts")
        return [_halved(vector) for vector in vectors]


def _halved(vector: bytes) -> bytes:
    """float16 in the place of float32: half the room, and for cosines no difference."""
    count = len(vector) // 4
    return struct.pack(f"<{count}e", *struct.unpack(f"<{count}f", vector))
