"""Embedding and reranking by the inference service."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_kit.errors import Upstream
from headrace_kit.rpc.call import Identity, current_call
from headrace_kit.rpc.client import Outbound, Peer
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message, Sampling
from headrace_protos.inference.v1 import messages_pb2, service_pb2_grpc
from headrace_retrieval.domain.spending import Generated, Tokens

_SERVICE = "/headrace.inference.v1.InferenceService"
IDEMPOTENT = (f"{_SERVICE}/Embed", f"{_SERVICE}/Rerank")


class InferenceModels:
    """`Models` over gRPC. What is done for a call carries the call's identity, ids and deadline."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._stub = peer.stub(service_pb2_grpc.InferenceServiceStub)

    async def embed(self, deployment: str, texts: Sequence[str], *, tenant: str, limit_s: float) -> list[bytes]:
        """See the port."""
        request = messages_pb2.EmbedRequest(deployment=deployment, texts=texts, truncate=True)
        answer = await self._peer.unary(self._stub.Embed, request, _outbound(tenant, limit_s))
        vectors = [embedding.vector for embedding in answer.embeddings]
        if len(vectors) != len(texts) or any(not vector or len(vector) != len(vectors[0]) for vector in vectors):
            raise Upstream(f"{deployment} answered {len(vectors)} vectors for {len(texts)} texts")
        return vectors

    async def generate(self, deployment: str, system: str, user: str, *, max_tokens: int, limit_s: float) -> Generated:
        """See the port."""
        request = messages_pb2.GenerateRequest(
            deployment=deployment,
            messages=[
                Message(role="system", parts=[ContentPart(text=system)]),
                Message(role="user", parts=[ContentPart(text=user)]),
            ],
            sampling=Sampling(max_tokens=max_tokens, temperature=0),
        )
        answer = await self._peer.unary(self._stub.Generate, request, _outbound("", limit_s))
        used = answer.usage
        return Generated(
            str(answer.choices[0].text) if answer.choices else "",
            Tokens(used.input_tokens, used.cached_input_tokens, used.output_tokens),
        )

    async def rerank(self, deployment: str, query: str, texts: Sequence[str], *, limit_s: float) -> list[float]:
        """See the port."""
        request = messages_pb2.RerankRequest(deployment=deployment, query=query, documents=texts)
        answer = await self._peer.unary(self._stub.Rerank, request, _outbound("", limit_s))
        if len(answer.scores) != len(texts):
            raise Upstream(f"{deployment} answered {len(answer.scores)} scores for {len(texts)} texts")
        return list(answer.scores)


def _outbound(tenant: str, limit_s: float) -> Outbound:
    call = current_call.get()
    outbound = Outbound.of(call) if call else Outbound(Identity(service="retrieval", tenant=tenant))
    return outbound.within(limit_s)
