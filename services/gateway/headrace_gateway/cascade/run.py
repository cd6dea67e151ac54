"""A cascade: each stage's answer is held back whole and judged; the last one streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from headrace_gateway.context import RequestContext
from headrace_gateway.resilience.attempts import Attempts, Work
from headrace_gateway.routing.plan import ModelPlan, StagePlan
from headrace_kit.errors import ClientGone, DeadlineExceeded, HeadraceError
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk, GenerateRequest


async def run_cascade(
    attempts: Attempts, ctx: RequestContext, plan: ModelPlan, request: GenerateRequest, *, whole: bool
) -> AsyncGenerator[GenerateChunk, None]:
    """The answer of the first stage that is sure enough, or of the last one.

    Nothing of a stage that was not accepted is ever yielded. A stage whose engine fails counts as not accepted.

    Args:
        attempts: runs the tries of a stage.
        ctx: the request.
        plan: its model.
        request: what to ask, for whichever deployment.
        whole: the caller does not stream: the last stage may answer in one piece.

    Raises:
        HeadraceError: the last stage failed, or the deadline passed.
    """
    last = len(plan.stages) - 1
    for number, stage in enumerate(plan.stages):
        work = _work(ctx, plan, stage, number, last)
        request.want_stats = stage.accept is not None
        if stage.accept is None:
            async with aclosing(attempts.stream(work, request, whole=whole)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        try:
            held = await attempts.hold(work, request, stage.accept)
        except (DeadlineExceeded, ClientGone):
            raise
        except HeadraceError:
            continue
        if held.accepted:
            for chunk in held.chunks:
                yield chunk
            return


def _work(ctx: RequestContext, plan: ModelPlan, stage: StagePlan, number: int, last: int) -> Work:
    return Work(ctx, number, stage.pool, plan.attempts, plan.fallbacks if number == last else ())
