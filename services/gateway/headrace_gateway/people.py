"""Erasing a person: from the memories of their team, and from its traces."""

from __future__ import annotations

from headrace_gateway.context import RequestContext
from headrace_gateway.ports import Services
from headrace_protos.retrieval.v1 import memory_pb2 as pb
from headrace_protos.tracing.v1 import messages_pb2 as tracing

ERASE_S = 300.0


async def erase_person(
    services: Services, ctx: RequestContext, request: pb.EraseMemoryRequest
) -> pb.EraseMemoryResponse:
    """Have everything of a person removed, by each service that keeps some of it; what was there of it.

    The memories first: they check who asks, and a repeat does what an earlier try did not come to.

    Raises:
        HeadraceError: a service refused, or is away; what was erased by then stays erased.
    """
    erased: pb.EraseMemoryResponse = await services.call(ctx, "retrieval", "EraseMemory", request, timeout_s=ERASE_S)
    sent = tracing.EraseTracesRequest(tenant=ctx.identity.tenant, user=request.user)
    traced = await services.call(ctx, "tracing", "EraseTraces", sent, timeout_s=ERASE_S)
    erased.traces, erased.feedback = traced.traces, traced.feedback
    return erased
