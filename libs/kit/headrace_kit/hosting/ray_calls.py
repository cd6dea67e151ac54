"""Servicer methods as methods of a Serve deployment: same arguments, same answers, same errors on the wire.

How Ray Serve 2.60 ends a call (measured, see docs/decisions/0003-ray-serve-host.md): what a method has set on its
context reaches the client whole (code, details, trailing metadata) only when the method returns. When it raises, code
and details survive, but the trailing metadata, which carries our typed error, is dropped. So a call that was ended by
`headrace_kit.rpc.status.end_with` returns here instead of raising.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.rpc import status_pb2

from headrace_kit.hosting.service import Servicing
from headrace_kit.rpc import metadata
from headrace_kit.rpc.status import end_with, in_words, to_status

Method = Callable[..., Any]

_DIRECT = "headrace_direct"
_NOTHING = Empty()


def serve_methods(servicers: Iterable[Servicing]) -> dict[str, Method]:
    """Methods for a deployment, by the name of their RPC, which is all that Serve routes by.

    Raises:
        ValueError: two services of one application have a method of the same name.
    """
    methods: dict[str, Method] = {}
    owners: dict[str, str] = {}
    for servicing in servicers:
        for name, handler in _handlers(servicing).items():
            if name in methods:
                raise ValueError(
                    f"{owners[name]} and {servicing.full_name} both have a method {name}: "
                    "Ray Serve tells the methods of an application apart by this name alone"
                )
            owners[name] = servicing.full_name
            methods[name] = _streaming(name, handler) if handler.response_streaming else _unary(name, handler)
    return methods


def mark_direct_calls(context_class: Any) -> None:
    """Have the contexts that this process makes tell that HAProxy brought their call straight to the replica.

    The other way in is Ray's Python proxy, HAProxy's stand-in while it knows of no replica. It makes the context in its
    own process and learns a stream's status from an exception alone, so on that way a stream that fails must raise,
    and its typed error travels in the status's message.

    Args:
        context_class: `ray.serve.grpc_util.RayServegRPCContext`.
    """
    if getattr(context_class, "headrace_marks", False):
        return
    make = context_class.__init__

    def marked(self: Any, grpc_context: Any) -> None:
        make(self, grpc_context)
        setattr(self, _DIRECT, True)

    context_class.__init__ = marked
    context_class.headrace_marks = True


def _handlers(servicing: Servicing) -> Mapping[str, grpc.RpcMethodHandler]:
    server = _Recorder()
    servicing.add(servicing.servicer, server)
    return server.handlers


class _Recorder:
    """As much of a grpc server as generated code needs to register a servicer."""

    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler] = {}

    def add_generic_rpc_handlers(self, _: Any) -> None:
        """The same methods in the way of old gRPC versions."""

    def add_registered_method_handlers(self, _: str, method_handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        self.handlers.update(method_handlers)


def _unary(name: str, handler: grpc.RpcMethodHandler) -> Method:
    method = handler.stream_unary if handler.request_streaming else handler.unary_unary

    async def unary(request: Any, grpc_context: Any = None) -> Any:
        try:
            return await method(request, grpc_context)
        except Exception as error:
            await _end(grpc_context, error)
            return _NOTHING  # dropped by gRPC, as the call's code is not OK

    unary.__name__ = unary.__qualname__ = name
    return unary


def _streaming(name: str, handler: grpc.RpcMethodHandler) -> Method:
    method = handler.stream_stream if handler.request_streaming else handler.unary_stream

    async def streaming(request: Any, grpc_context: Any = None) -> AsyncIterator[Any]:
        items = method(request, grpc_context)
        try:
            async for item in items:
                yield item
        except Exception as error:
            await _end(grpc_context, error)
            if not getattr(grpc_context, _DIRECT, False):
                _put_in_words(grpc_context)
                raise
        finally:
            # Serve throws CancelledError in here when the client has gone: the method must see it at once.
            await items.aclose()

    streaming.__name__ = streaming.__qualname__ = name
    return streaming


async def _end(context: Any, error: Exception) -> None:
    """Make sure that the context says how the call ended; an undecorated method did not, and its text stays here."""
    if context.code():
        return
    try:
        await end_with(context, to_status(error, ""), error)
    except Exception as raised:
        if raised is not error:
            raise


def _put_in_words(context: Any) -> None:
    for key, value in context.trailing_metadata() or ():
        if key == metadata.STATUS_DETAILS:
            context.set_details(in_words(status_pb2.Status.FromString(value)))
