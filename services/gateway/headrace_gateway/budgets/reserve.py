"""Where a request's text and model become a reservation: once, before its first engine starts."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_gateway.budgets.estimate import bound, bound_of_plan, likely_tokens, most_input
from headrace_gateway.calls import GenerateCall
from headrace_gateway.context import RequestContext
from headrace_gateway.routing.plan import ModelPlan
from headrace_protos.inference.v1.messages_pb2 import GenerateRequest

_BYTES_PER_TOKEN = 4
_LOOKED_AT = 8
"""The cache embeds a question, and may have it ranked beside three others."""


async def reserve(ctx: RequestContext, plan: ModelPlan, request: GenerateRequest) -> None:
    """Count the tokens that a request is likely to use, and hold what it may cost at most.

    Raises:
        Busy: the team has had its tokens for now, or the rest of its budget is reserved.
        BudgetSpent: its budget has no room for this request.
        NotReady: that cannot be told now.
    """
    purse, rates = ctx.purse, ctx.rates
    if purse is None:
        return
    counts = rates is not None and rates.tokens is not None
    if not (counts or purse.limited):
        return
    inputs = most_input(request)
    if rates is not None and counts:
        purse.counted = likely_tokens(request, inputs, plan.stages[0].pool.targets[0])
        rates.take_tokens(purse.counted)
    if purse.limited:
        purse.inputs = inputs
        await purse.reserve(bound_of_plan(plan, request, inputs))


async def reserve_texts(ctx: RequestContext, plan: ModelPlan, texts: Sequence[str], beside: str = "") -> None:
    """The same for vectors and rankings; `beside` goes with each text. Raises as `reserve`."""
    purse, rates = ctx.purse, ctx.rates
    if purse is None:
        return
    limited = rates is not None and rates.tokens is not None
    if not (limited or purse.limited):
        return
    size = sum(map(_bytes, texts)) + len(texts) * _bytes(beside)
    if rates is not None and rates.tokens is not None:
        purse.counted = size // _BYTES_PER_TOKEN
        rates.take_tokens(purse.counted)
    if purse.limited:
        purse.inputs = size + 16 * len(texts)
        await purse.reserve(max(bound(target, purse.inputs, 0, whole=True) for target in plan.targets))


def measure(ctx: RequestContext, call: GenerateCall) -> None:
    """Tell how much the cache's own models may read, before a request is known to need others."""
    if ctx.purse is not None and ctx.purse.limited:
        size = len(call.prompt.encode()) + sum(message.ByteSize() for message in call.messages)
        ctx.purse.inputs = _LOOKED_AT * size


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
