"""`headrace.gateway.v1.GatewayService`."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator
from contextlib import aclosing

from headrace_gateway.admission.door import Door, Visit
from headrace_gateway.calls import EmbedCall, GenerateCall, RerankCall
from headrace_gateway.grpc_api.read import read_generate
from headrace_gateway.grpc_api.visits import visiting
from headrace_gateway.grpc_api.write import choice_message, chunk_message, outcome_message
from headrace_gateway.pipeline import Answer, Pipeline
from headrace_gateway.ports import Services
from headrace_gateway.routing.plan import TASKS
from headrace_gateway.unary import Vectors
from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.gateway.v1 import messages_pb2 as pb
from headrace_protos.gateway.v1 import service_pb2_grpc
from headrace_protos.tracing.v1 import messages_pb2 as tracing

SERVICE = "headrace.gateway.v1.GatewayService"


class GatewayServicer(service_pb2_grpc.GatewayServiceServicer):
    """The front door for product teams over gRPC; keys are checked here, so every method is public."""

    def __init__(
        self, runtime: RpcRuntime, door: Door, pipeline: Pipeline, vectors: Vectors, services: Services
    ) -> None:
        self.rpc_runtime = runtime
        self._door, self._pipeline, self._vectors, self._services = door, pipeline, vectors, services

    @rpc(public=True)
    async def Generate(self, request: pb.GenerateRequest, call: Call) -> pb.GenerateResponse:
        """See the proto."""
        with visiting(self._door, call, SERVICE) as visit:
            answer = await self._begin(visit, read_generate(request, stream=False))
            choices, usage = await answer.whole()
            return pb.GenerateResponse(
                id=visit.ctx.request_id,
                model=request.model,
                choices=[choice_message(choice) for choice in choices],
                usage=usage,
                headrace=outcome_message(visit.ctx.outcome),
            )

    @rpc(public=True)
    async def GenerateStream(self, request: pb.GenerateRequest, call: Call) -> AsyncGenerator[pb.GenerateChunk, None]:
        """See the proto."""
        with visiting(self._door, call, SERVICE) as visit:
            answer = await self._begin(visit, read_generate(request, stream=True))
            async with aclosing(answer.chunks()) as chunks:
                async for chunk in chunks:
                    outcome = visit.ctx.outcome if chunk.HasField("usage") else None
                    yield chunk_message(chunk, visit.ctx.request_id, outcome)

    async def _begin(self, visit: Visit, call: GenerateCall) -> Answer:
        self._door.assert_identity(visit, call.options.user, call.options.groups)
        return await self._pipeline.generate(visit.ctx, call)

    @rpc(public=True)
    async def Embed(self, request: pb.EmbedRequest, call: Call) -> pb.EmbedResponse:
        """See the proto."""
        with visiting(self._door, call, SERVICE) as visit:
            asked = EmbedCall(request.model, request.texts, request.dimensions)
            vectors, usage = await self._vectors.embed(visit.ctx, asked)
            return pb.EmbedResponse(
                model=request.model,
                embeddings=[pb.Embedding(values=array("f", vector)) for vector in vectors],
                usage=usage,
            )

    @rpc(public=True)
    async def Rerank(self, request: pb.RerankRequest, call: Call) -> pb.RerankResponse:
        """See the proto."""
        with visiting(self._door, call, SERVICE) as visit:
            asked = RerankCall(request.model, request.query, request.documents, request.top_n)
            ranked, usage = await self._vectors.rerank(visit.ctx, asked)
            return pb.RerankResponse(
                model=request.model,
                results=[pb.RerankResult(index=item.index, score=item.score) for item in ranked],
                usage=usage,
            )

    @rpc(public=True)
    async def ListModels(self, request: pb.ListModelsRequest, call: Call) -> pb.ListModelsResponse:
        """See the proto."""
        with visiting(self._door, call, SERVICE, traced=False) as visit:
            table = visit.ctx.table
            return pb.ListModelsResponse(
                models=[
                    pb.Model(id=plan.name, created=table.created, task=TASKS[plan.task])
                    for plan in table.allowed(visit.ctx.identity.tenant)
                ]
            )

    @rpc(public=True)
    async def SendFeedback(self, request: pb.FeedbackRequest, call: Call) -> pb.FeedbackResponse:
        """See the proto."""
        with visiting(self._door, call, SERVICE, traced=False) as visit:
            sent = tracing.AddFeedbackRequest(
                trace_id=request.trace_id,
                span_id=request.span_id,
                score=request.score if request.HasField("score") else None,
                label=request.label,
                comment=request.comment,
            )
            said = await self._services.call(visit.ctx, "tracing", "AddFeedback", sent)
            return pb.FeedbackResponse(id=said.id)
