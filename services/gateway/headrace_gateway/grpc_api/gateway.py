"""`headrace.gateway.v1.GatewayService`."""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from headrace_gateway.admission.door import Door, Visit
from headrace_gateway.arms.ratings import Ratings
from headrace_gateway.budgets.state import BudgetReader
from headrace_gateway.calls import EmbedCall, GenerateCall, RerankCall
from headrace_gateway.grpc_api.once import GrpcOnce, Serve
from headrace_gateway.grpc_api.read import read_generate
from headrace_gateway.grpc_api.visits import visiting
from headrace_gateway.grpc_api.write import choice_message, chunk_message, outcome_message, usage_message
from headrace_gateway.ledger.usage import UsageQuery, UsageRow, read_query, tenant_of
from headrace_gateway.pipeline import Answer, Pipeline
from headrace_gateway.routing.plan import TASKS
from headrace_gateway.unary import Vectors
from headrace_kit.rpc import Call, RpcRuntime, rpc
from headrace_protos.gateway.v1 import messages_pb2 as pb
from headrace_protos.gateway.v1 import service_pb2_grpc
from headrace_protos.tracing.v1 import messages_pb2 as tracing

SERVICE = "headrace.gateway.v1.GatewayService"
M = TypeVar("M")


class GatewayServicer(service_pb2_grpc.GatewayServiceServicer):
    """The front door for product teams over gRPC; keys are checked here, so every method is public."""

    def __init__(
        self,
        runtime: RpcRuntime,
        door: Door,
        pipeline: Pipeline,
        vectors: Vectors,
        once: GrpcOnce,
        usage: Callable[[UsageQuery], Awaitable[list[UsageRow]]],
        budgets: BudgetReader,
        ratings: Ratings,
    ) -> None:
        self.rpc_runtime = runtime
        self._ratings = ratings
        self._budgets = budgets
        self._door, self._pipeline, self._vectors = door, pipeline, vectors
        self._once, self._usage = once, usage

    @rpc(public=True)
    async def Generate(self, request: pb.GenerateRequest, call: Call) -> pb.GenerateResponse:
        """See the proto."""
        return await self._one(request, call, self._generate, pb.GenerateResponse)

    @rpc(public=True)
    async def GenerateStream(self, request: pb.GenerateRequest, call: Call) -> AsyncGenerator[pb.GenerateChunk, None]:
        """See the proto."""
        async with visiting(self._door, call, SERVICE) as visit:
            served = self._once.answer(visit, call, request, self._stream, pb.GenerateChunk)
            async with aclosing(served) as chunks:
                async for chunk in chunks:
                    yield chunk

    @rpc(public=True)
    async def Embed(self, request: pb.EmbedRequest, call: Call) -> pb.EmbedResponse:
        """See the proto."""
        return await self._one(request, call, self._embed, pb.EmbedResponse)

    @rpc(public=True)
    async def Rerank(self, request: pb.RerankRequest, call: Call) -> pb.RerankResponse:
        """See the proto."""
        return await self._one(request, call, self._rerank, pb.RerankResponse)

    async def _one(self, request: Any, call: Call, serve: Serve, kind: type[M]) -> M:
        async with visiting(self._door, call, SERVICE) as visit:
            async with aclosing(self._once.answer(visit, call, request, serve, kind)) as messages:
                message: M = await anext(messages)
                return message

    async def _generate(self, visit: Visit, request: pb.GenerateRequest) -> AsyncGenerator[pb.GenerateResponse, None]:
        answer = await self._begin(visit, read_generate(request, stream=False))
        choices, usage = await answer.whole()
        yield pb.GenerateResponse(
            id=visit.ctx.request_id,
            model=request.model,
            choices=[choice_message(choice) for choice in choices],
            usage=usage,
            headrace=outcome_message(visit.ctx.outcome),
        )

    async def _stream(self, visit: Visit, request: pb.GenerateRequest) -> AsyncGenerator[pb.GenerateChunk, None]:
        answer = await self._begin(visit, read_generate(request, stream=True))
        async with aclosing(answer.chunks()) as chunks:
            async for chunk in chunks:
                outcome = visit.ctx.outcome if chunk.HasField("usage") else None
                yield chunk_message(chunk, visit.ctx.request_id, outcome)

    async def _begin(self, visit: Visit, call: GenerateCall) -> Answer:
        self._door.assert_identity(visit, call.options.user, call.options.groups)
        return await self._pipeline.generate(visit.ctx, call)

    async def _embed(self, visit: Visit, request: pb.EmbedRequest) -> AsyncGenerator[pb.EmbedResponse, None]:
        asked = EmbedCall(request.model, request.texts, request.dimensions, request.end_user)
        vectors, usage = await self._vectors.embed(visit.ctx, asked)
        yield pb.EmbedResponse(
            model=request.model,
            embeddings=[pb.Embedding(values=array("f", vector)) for vector in vectors],
            usage=usage,
            headrace=outcome_message(visit.ctx.outcome),
        )

    async def _rerank(self, visit: Visit, request: pb.RerankRequest) -> AsyncGenerator[pb.RerankResponse, None]:
        asked = RerankCall(request.model, request.query, request.documents, request.top_n)
        ranked, usage = await self._vectors.rerank(visit.ctx, asked)
        yield pb.RerankResponse(
            model=request.model,
            results=[pb.RerankResult(index=item.index, score=item.score) for item in ranked],
            usage=usage,
            headrace=outcome_message(visit.ctx.outcome),
        )

    @rpc(public=True)
    async def GetUsage(self, request: pb.GetUsageRequest, call: Call) -> pb.GetUsageResponse:
        """See the proto."""
        async with visiting(self._door, call, SERVICE, traced=False) as visit:
            tenant = tenant_of(visit.ctx.identity, request.tenant or None)
            wanted = read_query(",".join(request.group_by), getattr(request, "from"), request.to, tenant)
            rows = await self._usage(wanted)
            return pb.GetUsageResponse(rows=[usage_message(wanted.groups, row) for row in rows])

    @rpc(public=True)
    async def ListModels(self, request: pb.ListModelsRequest, call: Call) -> pb.ListModelsResponse:
        """See the proto."""
        async with visiting(self._door, call, SERVICE, traced=False) as visit:
            table = visit.ctx.table
            return pb.ListModelsResponse(
                models=[
                    pb.Model(id=plan.name, created=table.created, task=TASKS[plan.task])
                    for plan in table.allowed(visit.ctx.identity.tenant)
                ]
            )

    @rpc(public=True)
    async def GetBudget(self, request: pb.GetBudgetRequest, call: Call) -> pb.GetBudgetResponse:
        """See the proto."""
        async with visiting(self._door, call, SERVICE, traced=False) as visit:
            state = await self._budgets.read(visit.ctx, request.tenant)
            return pb.GetBudgetResponse(
                tenant=state.tenant,
                budgets=[
                    pb.BudgetState(
                        per=budget.per,
                        budget_nano_usd=budget.limit,
                        spent_nano_usd=budget.spent,
                        reserved_nano_usd=budget.reserved,
                        remaining_nano_usd=budget.remaining,
                        resets_at=budget.resets_at,
                        current=budget.current,
                    )
                    for budget in state.budgets
                ],
                requests_per_minute=state.limits.requests_per_minute or 0,
                tokens_per_minute=state.limits.tokens_per_minute or 0,
                concurrent_requests=state.limits.concurrent_requests,
            )

    @rpc(public=True)
    async def SendFeedback(self, request: pb.FeedbackRequest, call: Call) -> pb.FeedbackResponse:
        """See the proto."""
        async with visiting(self._door, call, SERVICE, traced=False) as visit:
            sent = tracing.AddFeedbackRequest(
                trace_id=request.trace_id,
                span_id=request.span_id,
                score=request.score if request.HasField("score") else None,
                label=request.label,
                comment=request.comment,
            )
            said = await self._ratings.add(visit.ctx, sent)
            return pb.FeedbackResponse(id=said.id)
