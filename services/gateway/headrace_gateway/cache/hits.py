"""A kept answer given again: what the caller is told, and its row in the ledger."""

from __future__ import annotations

from headrace_gateway.cache.entry import Entry
from headrace_gateway.context import RequestContext
from headrace_gateway.outcome import usd
from headrace_protos.common.v1.event_pb2 import RequestEvent
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk


def replay(ctx: RequestContext, entry: Entry) -> list[GenerateChunk]:
    """The chunks of an answer, with everything that was told about it put into the outcome."""
    outcome = ctx.outcome
    outcome.deployment = entry.deployment
    outcome.citations = entry.citations
    if entry.grounding is not None:
        outcome.grounding = entry.grounding
    outcome.guardrails.extend(entry.findings)
    outcome.saved_usd = usd(entry.cost_nano_usd)
    ctx.usage = entry.tokens()
    return entry.replay()


def hit_event(ctx: RequestContext, entry: Entry, chunks: list[GenerateChunk]) -> RequestEvent:
    """The row: no tokens and no cost, for none were spent, and what was saved."""
    event = free_event(ctx, chunks)
    event.deployment, event.cache, event.saved_nano_usd = entry.deployment, "hit", entry.cost_nano_usd
    return event


def free_event(ctx: RequestContext, chunks: list[GenerateChunk]) -> RequestEvent:
    """The row of an answer that no engine was asked for."""
    now = ctx.elapsed_us()
    event = RequestEvent(
        kind=RequestEvent.KIND_CLOSED,
        request_id=ctx.request_id,
        tenant=ctx.identity.tenant,
        key_id=ctx.identity.key_id,
        unit=ctx.unit,
        model=ctx.plan.name if ctx.plan else "",
        rollout_id=ctx.rollout_id,
        arm=ctx.arm,
        config_hash=ctx.table.hash,
        trace_id=ctx.trace_id,
        operation=ctx.operation,
        finish_reason=next((chunk.finish_reason for chunk in reversed(chunks) if chunk.finish_reason), ""),
        first_token_us=now,
        ended_us=now,
        guard_findings=[found.label for found in ctx.outcome.guardrails],
    )
    event.time.FromNanoseconds(ctx.wall_ns())
    return event
