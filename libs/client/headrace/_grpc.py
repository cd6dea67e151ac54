"""gRPC to the platform: one call or one stream, with errors as this package's classes."""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc import aio

from headrace import errors
from headrace.retry import Refused, Retry
from headrace_protos.common.v1.error_pb2 import ErrorDetail

_STATUS_DETAILS = "grpc-status-details-bin"
# A platform on Ray has a way on which trailers are lost: there the details stand behind the message.
_IN_WORDS = f" [{_STATUS_DETAILS}: "
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class GrpcTransport:
    """A channel to one platform; the event loop of the first call owns it."""

    def __init__(
        self, address: str, api_key: str, *, timeout_s: float, retry: Retry, tls: bool, tenant: str | None = None
    ) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._retry = retry
        # `application` names the Ray Serve application; other hosts ignore it
        self._metadata = (
            ("authorization", f"Bearer {api_key}"),
            ("application", "gateway"),
            *((("x-headrace-tenant", tenant),) if tenant else ()),
        )
        self._tls = tls
        self._channel: Any = None
        self._stubs: dict[type, Any] = {}

    def stub(self, kind: type) -> Any:
        """The stub of a service, on the channel that is made when the first is asked for."""
        if self._channel is None:
            self._channel = self._open()
        if kind not in self._stubs:
            self._stubs[kind] = kind(self._channel)
        return self._stubs[kind]

    async def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close()

    async def unary(
        self, method: Any, request: Any, *, timeout_s: float | None = None, idempotent: bool = False
    ) -> Any:
        """Make a call. Raises what `HttpTransport.call` raises."""
        seconds = self._timeout_s if timeout_s is None else timeout_s

        async def once() -> Any:
            call = method(request, timeout=seconds, metadata=self._metadata)
            try:
                return await call
            except aio.AioRpcError as error:
                raise self._translate(error, seconds) from error
            finally:
                call.cancel()

        return await self._retry.run(once, idempotent=idempotent)

    async def stream(self, method: Any, request: Any, *, timeout_s: float | None = None) -> AsyncGenerator[Any, None]:
        """Yield a stream's messages. Closing the generator cancels the call."""
        seconds = self._timeout_s if timeout_s is None else timeout_s

        async def once() -> tuple[Any, Any]:
            call = method(request, timeout=seconds, metadata=self._metadata)
            try:
                return call, await call.read()
            except aio.AioRpcError as error:
                raise self._translate(error, seconds) from error
            except BaseException:
                call.cancel()
                raise

        call, message = await self._retry.run(once, idempotent=False)
        try:
            while message is not aio.EOF:
                yield message
                try:
                    message = await call.read()
                except aio.AioRpcError as error:
                    translated = self._translate(error, seconds)
                    if isinstance(translated, errors.ConnectionFailed):
                        raise errors.StreamBroken(f"the stream broke off: {translated}") from error
                    raise translated from error
        finally:
            call.cancel()

    def _open(self) -> Any:
        options = [
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.enable_retries", 0),
        ]
        if self.address.rsplit(":", 1)[0] in ("127.0.0.1", "localhost", "[::1]"):
            options.append(("grpc.enable_http_proxy", 0))
        if self._tls:
            return aio.secure_channel(self.address, grpc.ssl_channel_credentials(), options)
        return aio.insecure_channel(self.address, options)

    def _translate(self, error: aio.AioRpcError, seconds: float) -> errors.HeadraceError:
        detail = _detail(error)
        text = (error.details() or error.code().name).partition(_IN_WORDS)[0]
        if detail is None and error.code() is grpc.StatusCode.UNAVAILABLE:
            refused = "connect" in text.lower() and "Socket closed" not in text
            if refused:
                return Refused(f"nothing answers at {self.address}")
            return errors.ConnectionFailed(f"the connection to {self.address} broke: {text}")
        if detail is None and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.TimedOut(f"no answer within {seconds:g} s")
        detail = detail or ErrorDetail()
        status = errors.status_of(detail.type, detail.code, _HTTP_STATUS.get(error.code(), 500))
        return errors.class_of(status, detail.code)(
            text,
            status=status,
            code=detail.code,
            param=detail.param or None,
            request_id=detail.request_id or None,
            retry_after_s=detail.retry_after_ms / 1000 if detail.retry_after_ms else None,
        )


def _detail(error: aio.AioRpcError) -> ErrorDetail | None:
    for value in _details_sent(error):
        with contextlib.suppress(DecodeError):
            for packed in status_pb2.Status.FromString(value).details:
                detail = ErrorDetail()
                if packed.Unpack(detail):
                    return detail
    return None


def _details_sent(error: aio.AioRpcError) -> Iterator[bytes]:
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_DETAILS:
            yield value
    with contextlib.suppress(binascii.Error):
        yield base64.b64decode((error.details() or "").partition(_IN_WORDS)[2].removesuffix("]"), validate=True)
