"""Whether it was the connection that failed."""

from __future__ import annotations

from grpc.aio import AioRpcError

from headrace_kit.errors import HeadraceError
from headrace_kit.rpc.status import has_details


def unreachable(error: HeadraceError) -> bool:
    """Whether a call did not reach its service, or broke off: a service says what is wrong in details of its own."""
    cause = error.__cause__
    if not isinstance(cause, AioRpcError) or cause.code().name == "DEADLINE_EXCEEDED":
        return False
    return not has_details(cause)
