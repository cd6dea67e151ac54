"""The model that rewrites queries for retrieval: whether a request may have it, and what it may take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from headrace_gateway.context import RequestContext
from headrace_gateway.observing.metrics import Metrics
from headrace_gateway.ports import Journal, Services
from headrace_gateway.resilience.helped import REWRITE_STAGE, SUMMARY_STAGE, Help, helped, note_help
from headrace_gateway.routing.eligible import permitted
from headrace_gateway.routing.plan import Target, compile_target
from headrace_protos.retrieval.v1.memory_pb2 import Conversation
from headrace_protos.retrieval.v1.messages_pb2 import Rewrite, SearchRequest, SearchResponse

T = TypeVar("T")

_INSTRUCTIONS = 400
_TURNS, _TURN_CHARS = 8, 1000
_CONDENSED, _WORDING, _ANSWER = 64, 48, 120
"""Bounds of retrieval's own prompts and answers, in tokens; a code point is four bytes at most, and a token is one at
least."""


class Rewriting:
    """Searches whose query a model rewrites, and conversations that it sums up, with what that takes in the ledger.

    Args:
        journal: the event log.
        metrics: counts.
    """

    def __init__(self, journal: Journal, metrics: Metrics) -> None:
        self._journal, self._metrics = journal, metrics

    async def search(
        self, ctx: RequestContext, request: SearchRequest, send: Callable[[], Awaitable[SearchResponse]]
    ) -> SearchResponse:
        """What `send`, which sends `request`, answers.

        Where the request may not be sent to the model, the query is searched for as it is.

        Raises:
            HeadraceError: what `send` raises; the team has no money for the model.
        """
        target = _rewriter(ctx)
        if target is None or not _asks(request.rewrite):
            return await send()
        if not permitted(ctx, target):
            request.ClearField("rewrite")
            return await send()
        ctx.operation = ctx.operation or "search"

        async def call() -> tuple[SearchResponse, Any]:
            found = await send()
            return found, found.rewriting

        inputs, outputs = _most(request)
        return await helped(self._journal, self._metrics, ctx, Help(target, REWRITE_STAGE, inputs, outputs), call)

    async def summed(self, ctx: RequestContext, told: Conversation) -> None:
        """Write down what summing a conversation up took."""
        target = _rewriter(ctx)
        if target is not None and told.HasField("summing"):
            ctx.operation = ctx.operation or "memory"
            wanted = Help(target, SUMMARY_STAGE, told.summing.input_tokens, told.summing.output_tokens)
            await note_help(self._journal, self._metrics, ctx, wanted, told.summing)


class Metered:
    """`Services` whose searches and conversations are in the ledger where a model worked for them."""

    def __init__(self, services: Services, rewriting: Rewriting) -> None:
        self._services, self._rewriting = services, rewriting

    async def call(
        self, ctx: RequestContext, service: str, method: str, request: Any, *, timeout_s: float = 30.0
    ) -> Any:
        """See `Services`."""

        async def send() -> Any:
            return await self._services.call(ctx, service, method, request, timeout_s=timeout_s)

        if service == "retrieval" and method == "Search":
            return await self._rewriting.search(ctx, request, send)
        answer = await send()
        if service == "retrieval" and method == "AppendTurns":
            await self._rewriting.summed(ctx, answer)
        return answer


def _rewriter(ctx: RequestContext) -> Target | None:
    name = ctx.table.config.services.retrieval.rewriter
    return None if name is None else compile_target(name, ctx.table.config)


def _asks(rewrite: Rewrite) -> bool:
    return bool((rewrite.condense and rewrite.turns) or rewrite.wordings or rewrite.hypothetical)


def _most(request: SearchRequest) -> tuple[int, int]:
    """The most tokens that rewriting reads and writes."""
    asked = request.rewrite
    query = len(request.query.encode())
    said = sum(len(turn.text[:_TURN_CHARS].encode()) for turn in asked.turns[-_TURNS:]) if asked.condense else 0
    calls = bool(asked.condense and asked.turns) + bool(asked.wordings) + asked.hypothetical
    inputs = calls * (_INSTRUCTIONS + query) + said
    return inputs, _CONDENSED * bool(asked.condense) + _WORDING * asked.wordings + _ANSWER * asked.hypothetical
