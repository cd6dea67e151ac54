"""The inference service as the pipeline's engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from headrace_gateway.adapters.peers import outbound
from headrace_gateway.ledger.reconcile import Used
from headrace_gateway.ports import Envelope, HungUp
from headrace_kit.errors import ClientGone, DeadlineExceeded, HeadraceError, NotFound, NotReady
from headrace_kit.rpc import Identity, Outbound, Peer
from headrace_protos.inference.v1 import messages_pb2 as pb
from headrace_protos.inference.v1 import service_pb2_grpc


class InferenceEngine:
    """Speaks to inference over one channel."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._stub = peer.stub(service_pb2_grpc.InferenceServiceStub)

    async def generate(
        self, request: pb.GenerateRequest, sent: Envelope, *, whole: bool
    ) -> AsyncGenerator[pb.GenerateChunk, None]:
        """See `Engine`."""
        request.attempt = sent.attempt
        try:
            if whole:
                answer = await self._peer.unary(self._stub.Generate, request, outbound(sent))
                for chunk in _chunks(answer):
                    yield chunk
                return
            async with aclosing(self._peer.stream(self._stub.GenerateStream, request, outbound(sent))) as chunks:
                async for chunk in chunks:
                    yield chunk
        except HeadraceError as error:
            raise _engine_error(error) from error

    async def embed(self, request: pb.EmbedRequest, sent: Envelope) -> pb.EmbedResponse:
        """See `Engine`."""
        try:
            return await self._peer.unary(self._stub.Embed, request, outbound(sent))  # type: ignore[no-any-return]
        except HeadraceError as error:
            raise _engine_error(error) from error

    async def classify(self, request: pb.ClassifyRequest, sent: Envelope) -> pb.ClassifyResponse:
        """See `Classifier`."""
        try:
            return await self._peer.unary(self._stub.Classify, request, outbound(sent))  # type: ignore[no-any-return]
        except HeadraceError as error:
            raise _engine_error(error) from error

    async def rerank(self, request: pb.RerankRequest, sent: Envelope) -> pb.RerankResponse:
        """See `Engine`."""
        try:
            return await self._peer.unary(self._stub.Rerank, request, outbound(sent))  # type: ignore[no-any-return]
        except HeadraceError as error:
            raise _engine_error(error) from error


class InferenceCounts:
    """What inference knows of attempts that this process did not see the end of; fulfils `Counts`."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._stub = peer.stub(service_pb2_grpc.InferenceServiceStub)

    async def used(self, attempts: Sequence[str]) -> dict[str, Used]:
        """See `Counts`."""
        sent = Outbound(Identity("gateway"))
        answer = await self._peer.unary(self._stub.GetUsage, pb.GetUsageRequest(attempts=attempts), sent)
        return {entry.attempt: Used(entry.usage, entry.running) for entry in answer.attempts}


def _chunks(answer: pb.GenerateResponse) -> list[pb.GenerateChunk]:
    chunks = [
        pb.GenerateChunk(
            index=choice.index,
            text=choice.text,
            tool_calls=choice.tool_calls,
            logprobs=choice.logprobs,
            finish_reason=choice.finish_reason,
            stats=choice.stats if choice.HasField("stats") else None,
            reasoning=choice.reasoning,
        )
        for choice in answer.choices
    ]
    if chunks:
        chunks[-1].usage.CopyFrom(answer.usage)
    return chunks


def _engine_error(error: HeadraceError) -> HeadraceError:
    """An error of inference as the client's: a deployment is our affair, and so is a call that it hung up on."""
    if isinstance(error, NotFound):
        return NotReady("a deployment of this model is not loaded yet; try again shortly", retry_after_s=1)
    if isinstance(error, DeadlineExceeded):
        return DeadlineExceeded("the deadline passed before the answer was there")
    if isinstance(error, ClientGone):
        return HungUp("the engine ended the call")
    return error
