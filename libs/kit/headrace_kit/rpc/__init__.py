"""gRPC between services: identity, deadlines, tracing, metrics and errors, the same on every host.

Names are imported when they are first used: whoever makes keys needs no gRPC.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace_kit.rpc.call import Call, Identity
    from headrace_kit.rpc.client import Outbound, Peer
    from headrace_kit.rpc.servicer import RpcRuntime, rpc

__all__ = ["Call", "Identity", "Outbound", "Peer", "RpcRuntime", "rpc"]

_HOMES = {
    "Call": "call",
    "Identity": "call",
    "Outbound": "client",
    "Peer": "client",
    "RpcRuntime": "servicer",
    "rpc": "servicer",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"headrace_kit.rpc.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'headrace_kit.rpc' has no attribute {name!r}")
