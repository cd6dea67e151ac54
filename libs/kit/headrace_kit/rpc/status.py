"""Errors as `google.rpc.Status`, both ways."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc.aio import AioRpcError

from headrace_kit import errors
from headrace_kit.rpc import metadata
from headrace_protos.common.v1.error_pb2 import ErrorDetail

_FALLBACK: dict[grpc.StatusCode, type[errors.HeadraceError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.BadInput,
    grpc.StatusCode.FAILED_PRECONDITION: errors.Blocked,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.Forbidden,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Busy,
    grpc.StatusCode.CANCELLED: errors.ClientGone,
    grpc.StatusCode.UNAVAILABLE: errors.Upstream,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.UNIMPLEMENTED: errors.Upstream,
}
_WITHOUT_DETAILS: dict[type[errors.HeadraceError], str] = {
    errors.Upstream: "a service that this needs cannot be reached, or broke off; try again shortly",
    errors.DeadlineExceeded: "the deadline passed before the answer was there",
    errors.ClientGone: "the call was cancelled",
}
_IN_WORDS = f" [{metadata.STATUS_DETAILS}: "
_BY_CODE = {cls.code: cls for cls in errors.STATUS if cls is not errors.HeadraceError}


def to_status(error: BaseException, request_id: str) -> status_pb2.Status:
    """`google.rpc.Status` of an exception, with `ErrorDetail`; nothing leaks from unexpected ones."""
    if isinstance(error, asyncio.CancelledError):
        error = errors.ClientGone("the caller went away")
    if isinstance(error, TimeoutError):
        error = errors.DeadlineExceeded("the deadline passed before the answer was there")
    row = errors.row(error)
    typed = error if isinstance(error, errors.HeadraceError) else errors.HeadraceError("")
    detail = ErrorDetail(
        type=row.type,
        code=typed.code,
        param=typed.param or "",
        retry_after_ms=round((typed.retry_after_s or 0) * 1000),
        request_id=request_id,
    )
    packed = any_pb2.Any()
    packed.Pack(detail)
    return status_pb2.Status(code=row.grpc.value[0], message=errors.public_message(error), details=[packed])


def trailers(status: status_pb2.Status) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata that carries the status."""
    return ((metadata.STATUS_DETAILS, status.SerializeToString()),)


def in_words(status: status_pb2.Status) -> str:
    """The status's message with its details behind it, for a way on which trailers are lost and the message is not."""
    details = status_pb2.Status(code=status.code, details=status.details).SerializeToString()
    return f"{status.message}{_IN_WORDS}{base64.b64encode(details).decode()}]"


def has_details(error: AioRpcError) -> bool:
    """Whether the server itself said what was wrong, so that the call did reach it."""
    return _detail(error) is not None


def from_rpc_error(error: AioRpcError) -> errors.HeadraceError:
    """The typed error behind a failed call, from its details where the server sent them, else from its code."""
    detail = _detail(error)
    cls = _FALLBACK.get(error.code(), errors.Upstream)
    if detail is None:
        # Without details the failure is the connection's or the host's, and its text, which may hold addresses, is
        # not for callers: it stays on the cause.
        return cls(_WITHOUT_DETAILS.get(cls, error.code().name))
    # Several classes may share a row's type and gRPC code; a code of no class's own belongs to the first, the base.
    fitting = [
        candidate
        for candidate in (*_BY_CODE.values(), errors.HeadraceError)
        if errors.STATUS[candidate].grpc is error.code() and errors.STATUS[candidate].type == detail.type
    ]
    if fitting:
        cls = next((candidate for candidate in fitting if candidate.code == detail.code), fitting[0])
    return cls(
        (error.details() or "").partition(_IN_WORDS)[0],
        code=detail.code,
        param=detail.param or None,
        retry_after_s=detail.retry_after_ms / 1000 if detail.retry_after_ms else None,
    )


def _detail(error: AioRpcError) -> ErrorDetail | None:
    for value in _details_sent(error):
        with contextlib.suppress(DecodeError):
            for packed in status_pb2.Status.FromString(value).details:
                detail = ErrorDetail()
                if packed.Unpack(detail):
                    return detail
    return None


def _details_sent(error: AioRpcError) -> Iterator[bytes]:
    for key, value in error.trailing_metadata() or ():
        if key == metadata.STATUS_DETAILS:
            yield value
    with contextlib.suppress(binascii.Error):
        yield base64.b64decode((error.details() or "").partition(_IN_WORDS)[2].removesuffix("]"), validate=True)


async def end_with(context: Any, status: status_pb2.Status, error: BaseException) -> None:
    """End the call with `status` on whichever host serves it; never returns normally.

    grpc.aio aborts; Ray Serve's context has no `abort`: there code, details and trailers are set and the error is
    raised, for `headrace_kit.hosting.ray_calls` to return quietly, as Ray sends the trailers of no other call.
    """
    if hasattr(context, "abort"):
        await context.abort(_code(status), status.message, trailers(status))
    context.set_code(_code(status))
    context.set_details(status.message)
    context.set_trailing_metadata(list(trailers(status)))  # Ray adds it to a list of its own
    raise error


def _code(status: status_pb2.Status) -> grpc.StatusCode:
    return next(code for code in grpc.StatusCode if code.value[0] == status.code)
