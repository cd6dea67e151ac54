"""A service of another service for the public: each call is let in by its key, and passed on with its identity."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from headrace_gateway.admission.door import Door
from headrace_gateway.grpc_api.visits import visiting
from headrace_gateway.ports import Services
from headrace_kit.rpc import Call, RpcRuntime, rpc

_TIMEOUT_S = 30.0
_SLOW_S = 600.0


class Passed:
    """Passes calls on. A class for each service is made from it by `passing`."""

    service = ""
    peer = ""

    def __init__(self, runtime: RpcRuntime, door: Door, services: Services) -> None:
        self.rpc_runtime = runtime
        self._door = door
        self._services = services


def passing(
    service: Any,
    base: type,
    peer: str,
    *,
    slow: Collection[str] = (),
    untraced: tuple[str, ...] = ("",),
    without: Collection[str] = (),
    admin: bool = False,
) -> type[Passed]:
    """A servicer that passes methods on.

    Args:
        service: descriptor of the service.
        base: its generated servicer, whose methods say that they are not there.
        peer: the service of ours that answers.
        slow: methods that may take minutes.
        untraced: beginnings of the names of those whose calls are no traces; by default none is one.
        without: methods that are not the public's.
        admin: whether the key needs the scope `admin`.
    """
    methods = {
        method.name: _method(
            method.name, _SLOW_S if method.name in slow else _TIMEOUT_S, not method.name.startswith(untraced), admin
        )
        for method in service.methods
        if method.name not in without
    }
    return type(f"Passed{service.name}", (Passed, base), {"service": service.full_name, "peer": peer, **methods})


def _method(name: str, timeout_s: float, traced: bool, admin: bool) -> Any:
    async def passed(self: Passed, request: Any, call: Call) -> Any:
        async with visiting(self._door, call, self.service, admin=admin, traced=traced) as visit:
            return await self._services.call(visit.ctx, self.peer, name, request, timeout_s=timeout_s)

    passed.__name__ = name
    passed.__doc__ = "See the proto."
    return rpc(public=True)(passed)
