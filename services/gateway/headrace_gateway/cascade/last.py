"""The last stage: its answer streams, unless the model is not to guess."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from headrace_gateway.cascade.hold import Hold
from headrace_gateway.cascade.judges import Judges
from headrace_gateway.cascade.signals import Confidence, want
from headrace_gateway.resilience.attempts import Attempts, Work
from headrace_kit.config.cascades import LowConfidence
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk, GenerateRequest

Chunks = AsyncGenerator[GenerateChunk, None]


def run_last(attempts: Attempts, judges: Judges, work: Work, request: GenerateRequest, *, whole: bool) -> Chunks:
    """The answer of the last stage; where it is not sure, what the model's `low_confidence` says.

    Raises:
        HeadraceError: the stage failed, or the deadline passed.
    """
    policy = work.plan.low_confidence
    want(request, policy)
    if policy is None:
        return attempts.stream(work, request, whole=whole)
    if policy.then == "answer":
        return _marked(attempts, judges, work, request, policy, whole=whole)
    return _guarded(attempts, judges, work, request, policy, whole=whole)


async def _marked(
    attempts: Attempts, judges: Judges, work: Work, request: GenerateRequest, policy: LowConfidence, *, whole: bool
) -> Chunks:
    """The answer as it comes; its last piece waits for the verdict."""
    assert work.review is not None
    work.review.accepted = True  # it is given, whatever is thought of it
    answer = attempts.stream(work, request, whole=whole and policy.window is None)
    seen = Hold(answer, Confidence(policy))
    async with aclosing(seen):
        async for chunk in answer:
            seen.confidence.add(chunk)
            seen.held.append(chunk)
            if chunk.HasField("usage"):
                value = await judges.value(work.ctx, request, work.pool, policy, seen)
                work.review.decide(True, policy.signal, value, "after")
                if not policy.sure(value):
                    judges.unsure(work.ctx, policy, value)
            yield chunk


async def _guarded(
    attempts: Attempts, judges: Judges, work: Work, request: GenerateRequest, policy: LowConfidence, *, whole: bool
) -> Chunks:
    """The answer when it is good enough, else the model's own words."""
    assert work.review is not None
    early = None if whole else policy.early
    hold = Hold(attempts.stream(work, request, whole=early is None and policy.window is None), Confidence(policy))
    async with aclosing(hold):
        await hold.until(early)
        if await judges.judge(work.ctx, request, work.pool, policy, hold, work.review):
            async for chunk in hold.chunks():
                yield chunk
            return
        low = work.review.value
    judges.unsure(work.ctx, policy, low)
    for index in range(max(1, request.sampling.n)):
        yield GenerateChunk(index=index, text=policy.text or "")
        yield GenerateChunk(index=index, finish_reason="stop")
