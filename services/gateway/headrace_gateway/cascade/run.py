"""A cascade: each stage's answer is held back and judged, early or whole; the last one streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from headrace_gateway.cascade.hold import Hold
from headrace_gateway.cascade.review import Review
from headrace_gateway.cascade.signals import Confidence
from headrace_gateway.context import RequestContext
from headrace_gateway.resilience.attempts import Attempts, Work
from headrace_gateway.routing.plan import ModelPlan
from headrace_kit.config.cascades import Accept
from headrace_kit.errors import ClientGone, DeadlineExceeded, HeadraceError
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk, GenerateRequest

Chunks = AsyncGenerator[GenerateChunk, None]


async def run_cascade(
    attempts: Attempts, ctx: RequestContext, plan: ModelPlan, request: GenerateRequest, *, whole: bool
) -> Chunks:
    """The answer of the first stage that is sure enough, or of the last one.

    Nothing of a stage that was not accepted is ever yielded. A stage whose engine fails counts as not accepted. One
    that is accepted by its beginning streams on; one that is not is stopped at its engine.

    Args:
        attempts: runs the tries of a stage.
        ctx: the request.
        plan: its model.
        request: what to ask, for whichever deployment.
        whole: the caller does not stream: nothing is judged early, and the last stage may answer in one piece.

    Raises:
        HeadraceError: the last stage failed, or the deadline passed.
    """
    last = len(plan.stages) - 1
    for number, stage in enumerate(plan.stages):
        fallbacks = plan.fallbacks if number == last else ()
        accept = stage.accept
        request.want_stats = accept is not None
        if accept is None:
            work = Work(ctx, number, stage.pool, plan.attempts, fallbacks)
            async with aclosing(attempts.stream(work, request, whole=whole)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        review = Review()
        work = Work(ctx, number, stage.pool, plan.attempts, fallbacks, review)
        early = None if whole else accept.early
        hold = Hold(
            attempts.stream(work, request, whole=early is None and accept.window is None),
            Confidence(accept.window or 0),
        )
        async with aclosing(hold):
            try:
                await hold.until(early)
                accepted = judge(hold, accept, review)
            except (DeadlineExceeded, ClientGone):
                raise
            except HeadraceError:
                continue
            if accepted:
                async for chunk in hold.chunks():
                    yield chunk
                return


def judge(hold: Hold, accept: Accept, review: Review) -> bool:
    """The verdict on what is held."""
    value = hold.confidence.value(accept.signal)
    accepted = accept.passes(value)
    if hold.late and accept.early is not None and accept.early.on_hold_timeout != "judge":
        accepted = accept.early.on_hold_timeout == "accept"
    return review.decide(accepted, accept.signal, value, "after" if hold.complete else "early")
