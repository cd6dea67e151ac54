"""A gRPC call through the door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace_gateway.admission.door import Door, Visit
from headrace_gateway.admission.limits import shut_down
from headrace_gateway.arms.canary import ROUTED
from headrace_gateway.context import Arrival
from headrace_kit.errors import Forbidden, row
from headrace_kit.rpc import Call


@asynccontextmanager
async def visiting(
    door: Door, call: Call, service: str, *, admin: bool = False, traced: bool = True
) -> AsyncIterator[Visit]:
    """Let a call in, and see it out at the end of the block, with its error if it has one.

    Raises:
        HeadraceError: the door refused; whatever the block raised; NotReady when draining takes too long.
    """
    groups = call.metadata.get("x-headrace-groups", "")
    visit = door.open(
        Arrival(
            route=f"{service}/{call.method}",
            authorization=call.metadata.get("authorization", ""),
            traceparent=call.traceparent,
            remaining_s=call.remaining_s(),
            user=call.metadata.get("x-headrace-user", ""),
            groups=tuple(filter(None, (group.strip() for group in groups.split(",")))),
            transport="grpc",
            request_id=call.request_id,
            traced=traced,
            routed=ROUTED in call.metadata,
            tenant=call.metadata.get("x-headrace-tenant", ""),
        )
    )
    try:
        await door.admit(visit, asyncio.current_task())
        if admin and (visit.key is None or "admin" not in visit.key.scopes):
            raise Forbidden("this needs a key with the scope 'admin'")
        yield visit
    except BaseException as raised:
        error = shut_down(raised)
        visit.leave(row(error).http if isinstance(error, Exception) else 499, error)
        if error is raised:
            raise
        raise error from raised
    visit.leave(200)
