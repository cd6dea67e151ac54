"""The stage that fetches passages."""

from __future__ import annotations

from headrace_gateway.calls import GenerateCall
from headrace_gateway.context import RequestContext
from headrace_gateway.grounding.prompt import query_of, rewrite_of
from headrace_gateway.grounding.rewriting import Rewriting
from headrace_gateway.ports import Retriever, envelope
from headrace_gateway.routing.plan import ModelPlan
from headrace_kit.errors import BadInput, NotFound
from headrace_protos.retrieval.v1.messages_pb2 import Passage, SearchRequest

_UNKNOWN = "collection_not_found"
_PARAM = "headrace.collections"


async def retrieve(
    retriever: Retriever, rewriting: Rewriting, ctx: RequestContext, plan: ModelPlan, call: GenerateCall
) -> list[Passage]:
    """Passages from the model's own collections and those that the request names, best first.

    Raises:
        BadInput: the conversation has no user turn to search by.
        NotFound: a collection does not exist, or is not the caller's.
        HeadraceError: retrieval failed: an answer that should be grounded is not given without its ground.
    """
    collections = list(dict.fromkeys((*plan.collections, *call.options.collections)))
    if not collections:
        return []
    if any("\0" in name for name in collections):
        raise NotFound("no collection has a NUL character in its name", code=_UNKNOWN, param=_PARAM)
    query = query_of(call)
    if not query:
        raise BadInput("an answer from collections needs a user message with text", param="messages")
    with ctx.stage("retrieve", **{"headrace.collections": len(collections)}) as hop:
        request = SearchRequest(collections=collections, query=query, top_k=plan.passages, rerank=plan.rerank)
        request.window, request.section = plan.passage_window, plan.passage_section
        if plan.rewrite is not None:
            request.rewrite.CopyFrom(rewrite_of(call, plan.rewrite))
        request.explain = plan.grounding.relevance is not None
        try:
            found = await rewriting.search(ctx, request, lambda: retriever.search(request, envelope(ctx, hop)))
        except NotFound as error:
            raise NotFound(error.message, code=_UNKNOWN, param=_PARAM) from error
        ctx.epochs.update(found.epochs)
        passages = [passage for passage in found.results if _relevant(passage, plan.grounding.relevance)]
        hop.attributes["headrace.passages"] = len(passages)
        return passages


def _relevant(passage: Passage, least: float | None) -> bool:
    """Whether a passage is near enough to the question; one that was found without vectors is not judged by them."""
    return least is None or passage.scores.get("vector", least if _only_words(passage) else 0.0) >= least


def _only_words(passage: Passage) -> bool:
    return "fused" not in passage.scores
