"""Cascade routing: a learned router says whom to ask next and whose answer to give."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

import numpy as np

from headrace_gateway.cascade.answer import calls_allowed, choices_of
from headrace_gateway.cascade.hold import Hold
from headrace_gateway.cascade.judges import Judges
from headrace_gateway.cascade.last import run_last
from headrace_gateway.cascade.learned import Learned, prompt_of
from headrace_gateway.cascade.review import Review
from headrace_gateway.cascade.signals import Confidence
from headrace_gateway.context import RequestContext
from headrace_gateway.ports import Envelope
from headrace_gateway.resilience.attempts import Attempts, Work
from headrace_gateway.routing.eligible import permitted
from headrace_gateway.routing.plan import ModelPlan, Target, single
from headrace_kit.errors import ClientGone, DeadlineExceeded, HeadraceError
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.inference.v1 import messages_pb2 as pb

SIGNAL = "expected_quality"
EMBED_STAGE = 109
"""Stage of the embedding call in the ledger, beyond those of any cascade."""


async def run_learned(
    attempts: Attempts,
    judges: Judges,
    ctx: RequestContext,
    plan: ModelPlan,
    learned: Learned,
    request: pb.GenerateRequest,
    *,
    whole: bool,
) -> AsyncGenerator[pb.GenerateChunk, None]:
    """The answer that the router chooses among those of the stages that it asks.

    Answers are held whole until it has decided. Only that of the last stage streams: nothing is better than it, so that
    it is given when it is asked. A stage that fails, or calls tools in a way that is not allowed, is left out.

    Raises:
        HeadraceError: the last stage failed, or the deadline passed.
    """
    stages = {stage.pool.targets[0].name: number for number, stage in enumerate(plan.stages)}
    usable = [target.name for stage in plan.stages for target in stage.pool.targets if permitted(ctx, target)]
    prompt = prompt_of(request.messages, request.prompt)
    embedding = await _embed(attempts, ctx, plan.embedding, learned.text_to_embed(prompt))
    episode = learned.begin(prompt, embedding, usable)
    last = len(plan.stages) - 1
    held: dict[str, tuple[Hold, Review]] = {}
    async with AsyncExitStack() as stack:
        while (step := episode.next()).ask is not None and stages[step.ask] != last:
            number = stages[step.ask]
            review = Review()
            request.want_stats, request.stats_top = True, 0
            work = Work(ctx, number, plan.stages[number].pool, plan.attempts, (), review)
            hold = await stack.enter_async_context(
                aclosing(Hold(attempts.stream(work, request, whole=True), Confidence()))
            )
            try:
                await hold.until(None)
            except (DeadlineExceeded, ClientGone):
                raise
            except HeadraceError:
                episode.without(step.ask)
                continue
            choices = choices_of(hold.held)
            if hold.calls_tools and not calls_allowed(choices, request.sampling):
                review.decide(False, "tool_arguments", 0.0, "after")
                episode.without(step.ask)
                continue
            held[step.ask] = hold, review
            said = choices[0].said if choices else ""
            episode.saw(step.ask, said, hold.confidence.value("mean_logprob"))
        given = held.pop(step.answer, None) if step.ask is None else None
        qualities = episode.qualities()
        for name, (hold, review) in held.items():
            review.decide(False, SIGNAL, qualities[name], "after")
            await hold.aclose()
        if given is not None:
            hold, review = given
            review.decide(True, SIGNAL, step.quality, "after")
            ctx.outcome.deployment = step.answer
            async for chunk in hold.chunks():
                yield chunk
            return
    judged = Review() if plan.low_confidence is not None else None
    work = Work(ctx, last, plan.stages[last].pool, plan.attempts, plan.fallbacks, judged)
    async with aclosing(run_last(attempts, judges, work, request, whole=whole)) as chunks:
        async for chunk in chunks:
            yield chunk


async def _embed(attempts: Attempts, ctx: RequestContext, target: Target | None, text: str) -> list[float] | None:
    """The prompt's embedding; None where it cannot be had, which makes the router's guess rougher."""
    if target is None:
        return None

    async def once(target: Target, sent: Envelope) -> tuple[pb.EmbedResponse, Usage]:
        answer = await attempts.engine.embed(pb.EmbedRequest(deployment=target.name, texts=[text], truncate=True), sent)
        return answer, answer.usage

    try:
        work = Work(ctx, EMBED_STAGE, single(target), 1, (), Review(judges=True))
        answer = await attempts.unary(work, once)
    except (DeadlineExceeded, ClientGone):
        raise
    except HeadraceError:
        return None
    vector: list[float] = np.frombuffer(answer.embeddings[0].vector, dtype="<f4").astype(float).tolist()
    return vector
