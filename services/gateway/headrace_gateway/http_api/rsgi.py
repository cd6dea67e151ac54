"""The face for granian: RSGI."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any

from granian._granian import RSGIProtocolClosed as ProtocolClosed

from headrace_gateway.http_api.port import BODY_TIMEOUT_S, Application, Response
from headrace_gateway.http_api.reply import Headers, Reply
from headrace_kit.errors import BadInput, TooLarge

_DISCARDED_BYTES = 64 * 1024 * 1024
_DISCARD_S = 10


class RsgiRequest:
    """A request under RSGI."""

    __slots__ = ("_headers", "_left", "_protocol", "_task", "gone", "method", "path", "query", "reply")

    def __init__(self, scope: Any, protocol: Any) -> None:
        self._headers, self._protocol = scope.headers, protocol
        self.reply = Reply(RsgiWire(protocol))
        self.method: str = scope.method
        self.path: str = scope.path
        self.query: str = scope.query_string
        self._task = asyncio.current_task()
        self._left: Any = None
        self.gone = False

    def header(self, name: str) -> str:
        """See `Request`."""
        try:
            return self._headers.get(name, "") or ""
        except ValueError:  # not text
            return ""

    async def body(self, limit: int) -> bytes:
        """See `Request`."""
        announced = self.header("content-length")
        if announced.isdecimal() and int(announced) > limit:
            await self._discard(aiter(self._protocol))
            raise TooLarge(f"the body has {announced} bytes, the limit is {limit}")
        try:
            if announced:
                return await self._announced()
            async with asyncio.timeout(BODY_TIMEOUT_S):
                return await self._chunked(limit)
        except ProtocolClosed as error:
            raise BadInput("the body broke off, or its framing is wrong") from error
        except TimeoutError as error:
            raise BadInput(f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from error

    async def _announced(self) -> bytes:
        """A body of known length. Raises TimeoutError, and what granian raises.

        `asyncio.timeout` does the same and costs five times as much as the one timer here.
        """
        task, late = self._task, False
        assert task is not None

        def cut() -> None:
            nonlocal late
            late = True
            task.cancel()

        cancelling = task.cancelling()
        timer = asyncio.get_running_loop().call_later(BODY_TIMEOUT_S, cut)
        try:
            return bytes(await self._protocol())
        except asyncio.CancelledError as error:
            if late and task.uncancel() <= cancelling:
                raise TimeoutError from error
            raise
        finally:
            timer.cancel()

    async def _chunked(self, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        pieces = aiter(self._protocol)  # once: granian lets a body be iterated only once
        while True:
            try:
                part = await anext(pieces)
            except StopAsyncIteration:
                return b"".join(parts)
            size += len(part)
            if size > limit:
                await self._discard(pieces)
                raise TooLarge(f"the body has more than {limit} bytes, the limit")
            parts.append(bytes(part))

    async def _discard(self, pieces: Any) -> None:
        """Read on for a while without keeping it: a client that still sends would see a reset, not the answer."""
        left = _DISCARDED_BYTES
        with contextlib.suppress(ProtocolClosed, TimeoutError, StopAsyncIteration):
            async with asyncio.timeout(_DISCARD_S):
                while left >= 0:
                    left -= len(await anext(pieces))

    def follow_client(self) -> None:
        """See `Request`."""
        if self._left is None:
            self._left = self._protocol.client_disconnect()
            self._left.add_done_callback(self._leave, context=None)

    def _leave(self, left: Any) -> None:
        if self._left is not None and not left.cancelled():
            self.gone = True
            if self._task is not None:
                self._task.cancel()

    def close(self) -> None:
        """The request is over: whether its client leaves says nothing any more."""
        left, self._left = self._left, None
        if left is not None:
            left.cancel()


class RsgiWire:
    """A response in pieces under RSGI."""

    __slots__ = ("_protocol", "_transport")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._transport: Any = None

    async def begin(self, status: int, headers: Headers) -> None:
        """See `Wire`."""
        self._transport = self._protocol.response_stream(status, headers)

    def send(self, chunk: bytes) -> Awaitable[None]:
        """See `Wire`."""
        sent: Awaitable[None] = self._transport.send_bytes(chunk)
        return sent


class RsgiFace:
    """An application as RSGI."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Serve one request."""
        request = RsgiRequest(scope, protocol)
        reply = request.reply
        try:
            answer = await self._application.handle(request)
            if isinstance(answer, Response):
                reply.quiet()
                if reply.begun:
                    await reply.fail(answer.body)
                else:
                    protocol.response_bytes(answer.status, answer.headers, answer.body)
                return
            try:
                await reply.begin(answer.status, answer.headers)
                async for chunk in answer.chunks:
                    await reply.send(chunk)
            finally:
                reply.quiet()
                await answer.aclose()
        except ProtocolClosed:
            pass  # the client has gone; the application has cleaned up
        except asyncio.CancelledError:
            if not request.gone:
                raise
        finally:
            request.close()
            await reply.aclose()
