"""Finds a question that was answered and means the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import numpy as np

from headrace_gateway.cache.entry import Entry
from headrace_gateway.cache.key import Place
from headrace_gateway.cache.ports import CacheStore
from headrace_gateway.cache.similar import nearest, same_terms
from headrace_gateway.context import RequestContext
from headrace_gateway.ports import Envelope
from headrace_gateway.resilience.attempts import Attempts, Work
from headrace_gateway.routing.plan import Target, compile_target, single
from headrace_kit.config.caching import SemanticCache
from headrace_kit.errors import HeadraceError
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.inference.v1 import messages_pb2 as pb

Vector = np.ndarray

EMBED_STAGE, RERANK_STAGE = 100, 101
"""Stages of these calls in the ledger, beyond those of any cascade."""


class Semantic:
    """Compares a question with those that were answered.

    Args:
        store: where they are.
        attempts: runs the embedding and rerank deployments, so that their calls are in the ledger.
    """

    def __init__(self, store: CacheStore, attempts: Attempts) -> None:
        self._store, self._attempts = store, attempts

    async def find(
        self,
        ctx: RequestContext,
        settings: SemanticCache,
        place: Place,
        get: Callable[[str], Awaitable[Entry | None]],
    ) -> tuple[Entry | None, Vector | None]:
        """The answer to a question that means the same, if there is one, and the vector of this one.

        A model that is away finds nothing. Raises NotReady while the store is away.
        """
        assert place.scope is not None
        try:
            vector = await self._embed(ctx, settings.embedding, place.question)
        except HeadraceError:
            return None, None
        known = await self._store.questions(place.pool, place.scope)
        candidates = []
        for exact in nearest(vector, known, settings.at_least):
            entry = await get(exact)
            if entry is None:
                await self._store.forget(place.pool, place.scope, exact)
            elif settings.verify == "none" or same_terms(place.question, entry.question):
                candidates.append(entry)
        if candidates and settings.reranker is not None and settings.rerank_at_least is not None:
            candidates = await self._reranked(ctx, settings.reranker, settings.rerank_at_least, place, candidates)
        return (candidates[0] if candidates else None), vector

    async def _embed(self, ctx: RequestContext, deployment: str, question: str) -> Vector:
        async def once(target: Target, sent: Envelope) -> tuple[pb.EmbedResponse, Usage]:
            request = pb.EmbedRequest(deployment=target.name, texts=[question], truncate=True)
            answer = await self._attempts.engine.embed(request, sent)
            return answer, answer.usage

        answer = await self._attempts.unary(_work(ctx, EMBED_STAGE, deployment), once)
        vector = np.frombuffer(answer.embeddings[0].vector, dtype="<f4")
        length = float(np.linalg.norm(vector))
        return vector / length if length else vector

    async def _reranked(
        self, ctx: RequestContext, deployment: str, at_least: float, place: Place, candidates: list[Entry]
    ) -> list[Entry]:
        """Candidates that the reranker finds close enough, best first; none while it is away."""

        async def once(target: Target, sent: Envelope) -> tuple[pb.RerankResponse, Usage]:
            questions = [entry.question for entry in candidates]
            request = pb.RerankRequest(deployment=target.name, query=place.question, documents=questions)
            answer = await self._attempts.engine.rerank(request, sent)
            return answer, answer.usage

        try:
            scores = (await self._attempts.unary(_work(ctx, RERANK_STAGE, deployment), once)).scores
        except HeadraceError:
            return []
        order = sorted(range(len(candidates)), key=lambda place: -scores[place])
        return [candidates[place] for place in order if scores[place] >= at_least]


def _work(ctx: RequestContext, stage: int, deployment: str) -> Work:
    return Work(ctx, stage, single(compile_target(deployment, ctx.table.config)), 1, ())
