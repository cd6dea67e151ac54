"""gRPC between services: identity, deadlines, tracing, metrics and errors, the same on every host."""

from headrace_kit.rpc.call import Call, Identity
from headrace_kit.rpc.client import Outbound, Peer
from headrace_kit.rpc.servicer import RpcRuntime, rpc

__all__ = ["Call", "Identity", "Outbound", "Peer", "RpcRuntime", "rpc"]
