"""A cascade: each stage's answer is held back and judged, early or whole; the last one streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from headrace_gateway.cascade.hold import Hold
from headrace_gateway.cascade.judges import Judges
from headrace_gateway.cascade.last import run_last
from headrace_gateway.cascade.review import Review
from headrace_gateway.cascade.route import run_learned
from headrace_gateway.cascade.signals import Confidence, want
from headrace_gateway.context import RequestContext
from headrace_gateway.resilience.attempts import Attempts, Work
from headrace_gateway.routing.plan import ModelPlan, StagePlan
from headrace_gateway.routing.traits import traits_of
from headrace_kit.errors import ClientGone, DeadlineExceeded, HeadraceError
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk, GenerateRequest

Chunks = AsyncGenerator[GenerateChunk, None]


def run_cascade(
    attempts: Attempts,
    judges: Judges,
    ctx: RequestContext,
    plan: ModelPlan,
    request: GenerateRequest,
    *,
    whole: bool,
) -> Chunks:
    """The answer of the first stage that is sure enough, or of the last one.

    Nothing of a stage that was not accepted is ever yielded. A stage whose engine fails counts as not accepted. One
    that is accepted by its beginning streams on; one that is not is stopped at its engine.

    Args:
        attempts: runs the tries of a stage.
        judges: judge the answers.
        ctx: the request.
        plan: its model.
        request: what to ask, for whichever deployment.
        whole: the caller does not stream: nothing is judged early, and the last stage may answer in one piece.

    Raises:
        HeadraceError: the last stage failed, or the deadline passed.
    """
    if plan.learned is not None:
        return run_learned(attempts, judges, ctx, plan, plan.learned, request, whole=whole)
    if len(plan.stages) == 1:
        return _last(attempts, judges, ctx, plan, request, whole=whole)
    return _stages(attempts, judges, ctx, plan, request, whole=whole)


async def _stages(
    attempts: Attempts,
    judges: Judges,
    ctx: RequestContext,
    plan: ModelPlan,
    request: GenerateRequest,
    *,
    whole: bool,
) -> Chunks:
    for number, stage in enumerate(plan.stages[:-1]):
        accept = stage.accept
        if accept is None or not _meant(ctx, stage, request):
            continue
        want(request, accept)
        review = Review()
        early = None if whole else accept.early
        work = Work(ctx, number, stage.pool, plan.attempts, (), review)
        hold = Hold(attempts.stream(work, request, whole=early is None and accept.window is None), Confidence(accept))
        async with aclosing(hold):
            try:
                await hold.until(early)
                accepted = await judges.judge(ctx, request, stage.pool, accept, hold, review)
            except (DeadlineExceeded, ClientGone):
                raise
            except HeadraceError:
                continue
            if accepted:
                async for chunk in hold.chunks():
                    yield chunk
                return
    async with aclosing(_last(attempts, judges, ctx, plan, request, whole=whole)) as chunks:
        async for chunk in chunks:
            yield chunk


def _last(
    attempts: Attempts,
    judges: Judges,
    ctx: RequestContext,
    plan: ModelPlan,
    request: GenerateRequest,
    *,
    whole: bool,
) -> Chunks:
    last = len(plan.stages) - 1
    judged = Review() if plan.low_confidence is not None else None
    work = Work(ctx, last, plan.stages[last].pool, plan.attempts, plan.fallbacks, judged)
    return run_last(attempts, judges, work, request, whole=whole)


def _meant(ctx: RequestContext, stage: StagePlan, request: GenerateRequest) -> bool:
    """Whether a stage is for this request."""
    if stage.when is None:
        return True
    if ctx.traits is None:
        ctx.traits = traits_of(request, ctx.metadata)
    return ctx.traits.meet(stage.when)
