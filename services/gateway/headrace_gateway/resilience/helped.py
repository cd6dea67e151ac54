"""What a model does for a request at another service's call: in the ledger, as the request's overhead."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from headrace_gateway.budgets.estimate import bound
from headrace_gateway.cascade.review import Review
from headrace_gateway.context import RequestContext
from headrace_gateway.observing.metrics import Metrics
from headrace_gateway.ports import Journal
from headrace_gateway.resilience.attempt import Attempt
from headrace_gateway.routing.plan import Target
from headrace_protos.common.v1.chat_pb2 import Usage

T = TypeVar("T")

REWRITE_STAGE, SUMMARY_STAGE = 102, 103
"""Stages of this work in the ledger, beyond those of any cascade and those of the cache."""


@dataclass(frozen=True, slots=True)
class Help:
    """What is asked of a model: `inputs` and `outputs` are the most tokens that it may take."""

    target: Target
    stage: int
    inputs: int
    outputs: int


async def helped(
    journal: Journal,
    metrics: Metrics,
    ctx: RequestContext,
    wanted: Help,
    call: Callable[[], Awaitable[tuple[T, Usage]]],
) -> T:
    """What `call` gives, a result and the tokens that a model took for it; it is opened before and closed after.

    Other than a request's own attempts it says nothing of how the deployment does: another service speaks to it.

    Raises:
        BudgetSpent, Busy, NotReady: the team has no money for it.
        HeadraceError: of the call; what the model took until then is not known.
    """
    attempt = _attempt(ctx, wanted)
    if ctx.purse is not None and ctx.purse.limited:
        attempt.bound = bound(wanted.target, wanted.inputs, wanted.outputs, whole=True)
        await ctx.purse.cover(attempt.bound)
    try:
        await attempt.open(journal)
        result, usage = await call()
    except BaseException as error:
        attempt.end(error)
        attempt.close(journal, metrics)
        raise
    attempt.used(usage)
    attempt.end()
    attempt.close(journal, metrics)
    return result


async def note_help(journal: Journal, metrics: Metrics, ctx: RequestContext, wanted: Help, usage: Usage) -> None:
    """Write down work of which nobody knew beforehand whether there would be any."""
    attempt = _attempt(ctx, wanted)
    await attempt.open(journal)
    attempt.used(usage)
    attempt.end()
    attempt.close(journal, metrics)


def _attempt(ctx: RequestContext, wanted: Help) -> Attempt:
    return Attempt(ctx, wanted.target, wanted.stage, 0, wanted.outputs, review=Review(helps=True))
