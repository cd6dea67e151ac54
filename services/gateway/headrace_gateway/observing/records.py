"""A request that has ended as the record that spans are made from elsewhere."""

from __future__ import annotations

from msgspec import Struct

from headrace_gateway.calls import CHAT, COMPLETION, EMBEDDING, RERANK, RESPONSE
from headrace_gateway.context import RequestContext
from headrace_gateway.running import Running
from headrace_kit.telemetry import genai
from headrace_kit.telemetry.requests import Request

HERE = Running()
_OPERATIONS = {
    CHAT: genai.OPERATION_CHAT,
    COMPLETION: genai.OPERATION_TEXT_COMPLETION,
    RESPONSE: genai.OPERATION_CHAT,
    EMBEDDING: genai.OPERATION_EMBEDDINGS,
    RERANK: genai.OPERATION_RERANK,
}


class Ended(Struct):
    """A request that has ended. `error` is a code of the error table."""

    ctx: RequestContext
    status: int
    ended_ns: int
    error: str


def operation_of(ctx: RequestContext) -> str:
    """What a model is asked to do, as the conventions name it; that of a search, or of a memory, writes text."""
    return _OPERATIONS.get(ctx.operation, genai.OPERATION_CHAT)


def record_of(ended: Ended, running: Running = HERE) -> Request:
    """Its record. What was said is cut to what a trace keeps."""
    ctx = ended.ctx
    identity, arrival, outcome, plan, canary = ctx.identity, ctx.arrival, ctx.outcome, ctx.plan, ctx.canary
    made = Request(
        request_id=ctx.request_id,
        trace_id=ctx.trace_id,
        span_id=ctx.span_id,
        parent_span_id=ctx.parent_span_id,
        started_ns=ctx.started_ns,
        ended_ns=ended.ended_ns,
        tenant=identity.tenant,
        status=ended.status,
        error=ended.error,
        key_id=identity.key_id,
        config_hash=ctx.table.hash,
        transport=arrival.transport,
        route=arrival.route,
        track=running.track,
        release=running.release,
        operation=operation_of(ctx),
        deployment=outcome.deployment,
        arm=outcome.arm,
        first_token_us=ctx.first_token_us,
        rollout_id=ctx.rollout_id,
        attributes=ctx.attributes,
        hops=ctx.hops,
    )
    if plan is not None:
        made.model = plan.name
        if plan.cache is not None:
            made.cache = outcome.cache
    if outcome.guardrails:
        made.findings = [
            f"{one.direction}:{one.check}.{one.kind}:{one.action}:{one.count}" for one in outcome.guardrails
        ]
    if ctx.epochs:
        made.collections = sorted(ctx.epochs)
    if outcome.grounding:
        made.groundedness = outcome.grounding.score
    if canary is not None:
        made.canary_rollout_id, made.canary_arm = canary.rollout_id, canary.arm
    if ctx.content is not None:
        made.said = ctx.content.said(outcome.citations)
    return made
