"""Requests for vectors and rankings: the same stages as text, without those that they have no use for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from headrace_gateway.arms.leases import Leases
from headrace_gateway.budgets.reserve import reserve_texts
from headrace_gateway.calls import EMBEDDING, RERANK, EmbedCall, RerankCall
from headrace_gateway.context import RequestContext
from headrace_gateway.guarding.guards import Guards
from headrace_gateway.guarding.input import Guard, Text
from headrace_gateway.guarding.sensitive import sensitive
from headrace_gateway.outcome import usd
from headrace_gateway.pipeline import select
from headrace_gateway.ports import Envelope
from headrace_gateway.resilience.attempts import Attempts, Work
from headrace_gateway.routing.eligible import refuse_unservable
from headrace_gateway.routing.plan import ModelPlan, Target
from headrace_gateway.routing.traits import traits_of_texts
from headrace_kit.errors import BadInput
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.inference.v1 import messages_pb2 as pb

T = TypeVar("T")
MAX_TEXTS = 2048
MAX_DOCUMENTS = 1000


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document by its place in the request. Higher is better; no fixed scale."""

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Vectors:
    """Serves embeddings and rankings."""

    attempts: Attempts
    leases: Leases
    guards: Guards

    async def embed(self, ctx: RequestContext, call: EmbedCall) -> tuple[list[bytes], Usage]:
        """One vector a text, float32 little-endian, in the order of the texts.

        Raises:
            BadInput: too many texts, an empty one, or one that is too long.
            HeadraceError: whichever stage failed.
        """
        _count("input", len(call.texts), MAX_TEXTS)
        for number, text in enumerate(call.texts):
            if not text:
                raise BadInput(f"input[{number}] is empty", param=f"input[{number}]")
        plan = self._begin(ctx, EMBEDDING, call.model, "embed", call.end_user)
        guard = self._guard(ctx, plan)
        texts = list(call.texts)
        await guard.texts(
            [Text(text, "input", f"input[{at}]", partial(texts.__setitem__, at)) for at, text in enumerate(call.texts)]
        )
        self._route(ctx, plan, guard, texts)

        await reserve_texts(ctx, plan, texts)

        async def once(target: Target, sent: Envelope) -> tuple[pb.EmbedResponse, Usage]:
            request = pb.EmbedRequest(deployment=target.name, texts=texts, dimensions=call.dimensions)
            answer = await self.attempts.engine.embed(request, sent)
            return answer, answer.usage

        answer = await self.attempts.unary(self._work(ctx, plan), once)
        self._settle(ctx)
        return [entry.vector for entry in answer.embeddings], answer.usage

    async def rerank(self, ctx: RequestContext, call: RerankCall) -> tuple[list[Ranked], Usage]:
        """Documents by relevance, best first. Raises as `embed`."""
        _count("documents", len(call.documents), MAX_DOCUMENTS)
        if not call.query:
            raise BadInput("query is empty", param="query")
        plan = self._begin(ctx, RERANK, call.model, "rerank", "")
        guard = self._guard(ctx, plan)
        query = await guard.text(call.query, "input", "query")
        documents = list(call.documents)
        await guard.texts(
            [
                Text(text, "input", f"documents[{at}]", partial(documents.__setitem__, at))
                for at, text in enumerate(call.documents)
            ]
        )
        self._route(ctx, plan, guard, [query, *documents])

        await reserve_texts(ctx, plan, call.documents, query)

        async def once(target: Target, sent: Envelope) -> tuple[pb.RerankResponse, Usage]:
            request = pb.RerankRequest(deployment=target.name, query=query, documents=documents)
            answer = await self.attempts.engine.rerank(request, sent)
            return answer, answer.usage

        answer = await self.attempts.unary(self._work(ctx, plan), once)
        self._settle(ctx)
        ranked = sorted(map(Ranked, range(len(answer.scores)), answer.scores), key=lambda item: -item.score)
        return ranked[: call.top_n or None], answer.usage

    def _begin(self, ctx: RequestContext, operation: str, model: str, task: str, person: str) -> ModelPlan:
        ctx.operation = operation
        ctx.outcome.request_id, ctx.outcome.trace_id = ctx.request_id, ctx.trace_id
        person = ctx.identity.user or person
        key = f"{ctx.identity.tenant}\0u\0{person}" if person else ctx.request_id
        plan = select(ctx, self.leases, model, task, key).plan
        self.guards.put(ctx, self.leases.trial(key))
        return plan

    def _guard(self, ctx: RequestContext, plan: ModelPlan) -> Guard:
        return self.guards.of(ctx, plan)

    @staticmethod
    def _route(ctx: RequestContext, plan: ModelPlan, guard: Guard, texts: Sequence[str]) -> None:
        ctx.sensitive = sensitive(guard)
        if plan.selective:
            ctx.traits = traits_of_texts(texts)
        refuse_unservable(ctx, plan, None)

    @staticmethod
    def _work(ctx: RequestContext, plan: ModelPlan) -> Work:
        return Work(ctx, 0, plan.stages[0].pool, plan.attempts, plan.fallbacks)

    @staticmethod
    def _settle(ctx: RequestContext) -> None:
        ctx.outcome.cost_usd = usd(ctx.cost_nano_usd)


def _count(name: str, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise BadInput(f"{name} has {count} entries; 1 to {most} are possible", param=name)
