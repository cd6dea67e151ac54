"""The headrace Python client.

    from headrace import Headrace

    with Headrace() as headrace:
        print(headrace.chat("Say hello.").text)

`AsyncHeadrace` is the same for asyncio, `AsyncHeadraceGrpc` over gRPC. Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace import errors, types
    from headrace.grpc import AsyncHeadraceGrpc
    from headrace.http import AsyncHeadrace
    from headrace.retry import Retry
    from headrace.stream import ChatStream
    from headrace.sync import BlockingChatStream, Headrace
    from headrace.types.chat import Message
    from headrace.types.documents import Acl, Document

__all__ = [
    "Acl",
    "AsyncHeadrace",
    "AsyncHeadraceGrpc",
    "BlockingChatStream",
    "ChatStream",
    "Document",
    "Headrace",
    "Message",
    "Retry",
    "errors",
    "types",
]

_HOMES = {
    "Acl": "types.documents",
    "AsyncHeadrace": "http",
    "AsyncHeadraceGrpc": "grpc",
    "BlockingChatStream": "sync",
    "ChatStream": "stream",
    "Document": "types.documents",
    "Headrace": "sync",
    "Message": "types.chat",
    "Retry": "retry",
}


def __getattr__(name: str) -> Any:
    if name in ("errors", "types"):
        return import_module(f"headrace.{name}")
    if name in _HOMES:
        return getattr(import_module(f"headrace.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'headrace' has no attribute {name!r}")
