"""What every event of a request says of it."""

from __future__ import annotations

from headrace_gateway.context import RequestContext
from headrace_protos.common.v1.event_pb2 import RequestEvent


def event_about(ctx: RequestContext, kind: RequestEvent.Kind, deployment: str, wall_ns: int) -> RequestEvent:
    """A new event of a request: whose it is, what it asks for, on which arm; the caller adds what happened.

    Args:
        ctx: the request.
        kind: of the event.
        deployment: that it is told of; empty where there is none.
        wall_ns: when it happened, nanoseconds since 1970.
    """
    event = RequestEvent(
        kind=kind,
        request_id=ctx.request_id,
        tenant=ctx.identity.tenant,
        key_id=ctx.identity.key_id,
        unit=ctx.unit,
        model=ctx.plan.name if ctx.plan else "",
        deployment=deployment,
        rollout_id=ctx.rollout_id,
        arm=ctx.arm,
        shadow=ctx.shadow,
        config_hash=ctx.table.hash,
        trace_id=ctx.trace_id,
        operation=ctx.operation,
        cache=ctx.outcome.cache,
    )
    stamp(event, wall_ns)
    return event


def stamp(event: RequestEvent, wall_ns: int) -> None:
    """Set the time of an event, nanoseconds since 1970."""
    event.time.seconds, event.time.nanos = divmod(wall_ns, 1_000_000_000)
