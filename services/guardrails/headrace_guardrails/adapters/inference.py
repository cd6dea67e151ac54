"""The inference service: vectors, labels and a language model's answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace_guardrails.ports import Subject
from headrace_kit.errors import Upstream
from headrace_kit.rpc import Peer
from headrace_kit.rpc.client import Outbound
from headrace_protos.common.v1 import chat_pb2 as chat
from headrace_protos.inference.v1 import messages_pb2 as pb
from headrace_protos.inference.v1 import service_pb2_grpc


class Inference:
    """Speaks to inference over one channel. All methods raise HeadraceError, as the peer answered."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._stub = peer.stub(service_pb2_grpc.InferenceServiceStub)

    async def classify(self, deployment: str, texts: Sequence[str], subject: Subject) -> list[Mapping[str, float]]:
        """The probability of each label, a text each. Inference batches what comes at the same time."""
        request = pb.ClassifyRequest(deployment=deployment, texts=texts)
        answer = await self._peer.unary(self._stub.Classify, request, _outbound(subject))
        return [dict(one.scores) for one in answer.classifications]

    async def embed(self, deployment: str, texts: Sequence[str], subject: Subject) -> list[bytes]:
        """A vector a text: float32, little-endian, of length 1. Texts that are too long are cut."""
        request = pb.EmbedRequest(deployment=deployment, texts=texts, truncate=True)
        answer = await self._peer.unary(self._stub.Embed, request, _outbound(subject))
        return [one.vector for one in answer.embeddings]

    async def generate(
        self, deployment: str, system: str, user: str, json_schema: str, max_tokens: int, subject: Subject
    ) -> str:
        """A whole answer, as near to certain as the model can be, held to a JSON schema."""
        sampling = chat.Sampling(
            temperature=0,
            max_tokens=max_tokens,
            seed=1,
            response_format=chat.ResponseFormat(type="json_schema", name="verdict", schema_json=json_schema),
        )
        request = pb.GenerateRequest(
            deployment=deployment,
            messages=[
                chat.Message(role="system", parts=[chat.ContentPart(text=system)]),
                chat.Message(role="user", parts=[chat.ContentPart(text=user)]),
            ],
            sampling=sampling,
        )
        pieces = [
            chunk.text async for chunk in self._peer.stream(self._stub.GenerateStream, request, _outbound(subject))
        ]
        if not pieces:
            raise Upstream("the judge said nothing", code="engine_failed")
        return "".join(pieces)


def _outbound(subject: Subject) -> Outbound:
    if subject.outbound is None:
        raise AssertionError("a text that is judged for a call has its outbound")
    return subject.outbound
