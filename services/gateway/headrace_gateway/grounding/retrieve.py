"""The stage that fetches passages."""

from __future__ import annotations

from headrace_gateway.calls import GenerateCall
from headrace_gateway.context import RequestContext
from headrace_gateway.grounding.prompt import query_of
from headrace_gateway.ports import Retriever, envelope
from headrace_gateway.routing.plan import ModelPlan
from headrace_kit.errors import BadInput, NotFound
from headrace_protos.retrieval.v1.messages_pb2 import Passage, SearchRequest

_UNKNOWN = "collection_not_found"
_PARAM = "headrace.collections"


async def retrieve(retriever: Retriever, ctx: RequestContext, plan: ModelPlan, call: GenerateCall) -> list[Passage]:
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
        try:
            found = await retriever.search(request, envelope(ctx, hop))
        except NotFound as error:
            raise NotFound(error.message, code=_UNKNOWN, param=_PARAM) from error
        ctx.epochs.update(found.epochs)
        hop.attributes["headrace.passages"] = len(found.results)
        return list(found.results)
