"""The face for Ray Serve: ASGI."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from headrace_gateway.http_api.port import BODY_TIMEOUT_S, Application, Headers, Response
from headrace_gateway.http_api.reply import Reply
from headrace_kit.errors import BadInput, TooLarge

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AsgiRequest:
    """A request under ASGI."""

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self._receive = receive
        self.reply = Reply(AsgiWire(send))
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope["query_string"].decode("latin-1")
        self._headers = {key.decode("latin-1").lower(): value for key, value in scope["headers"]}
        self._task = asyncio.current_task()
        self.watcher: asyncio.Task[None] | None = None
        self.gone = False

    def header(self, name: str) -> str:
        """See `Request`."""
        try:
            return str(self._headers.get(name, b"").decode("utf-8"))
        except UnicodeDecodeError:
            return ""

    async def body(self, limit: int) -> bytes:
        """See `Request`."""
        announced = self.header("content-length")
        if announced.isdecimal() and int(announced) > limit:
            raise TooLarge(f"the body has {announced} bytes, the limit is {limit}")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise BadInput("the body broke off, or its framing is wrong")
                    part = message.get("body", b"")
                    size += len(part)
                    if size > limit:
                        raise TooLarge(f"the body has more than {limit} bytes, the limit")
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError as error:
            raise BadInput(f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from error

    def follow_client(self) -> None:
        """See `Request`."""
        if self.watcher is None:
            self.watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._task is not None:
            self._task.cancel()


class AsgiWire:
    """A response in pieces under ASGI."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def begin(self, status: int, headers: Headers) -> None:
        """See `Wire`."""
        await self._send(_start(status, headers))

    async def send(self, chunk: bytes) -> None:
        """See `Wire`."""
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})


class AsgiFace:
    """An application as ASGI 3."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, or take part in the server's lifespan."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"only HTTP is served, not {scope['type']}")
        request = AsgiRequest(scope, receive, send)
        reply = request.reply
        try:
            answer = await self._application.handle(request)
            if isinstance(answer, Response):
                reply.quiet()
                if reply.begun:
                    await reply.fail(answer.body)
                    await send({"type": "http.response.body", "body": b""})
                    return
                await send(_start(answer.status, [*answer.headers, ("content-length", str(len(answer.body)))]))
                await send({"type": "http.response.body", "body": answer.body})
                return
            try:
                await reply.begin(answer.status, answer.headers)
                async for chunk in answer.chunks:
                    await reply.send(chunk)
                await reply.aclose()
                await send({"type": "http.response.body", "body": b""})
            finally:
                reply.quiet()
                await answer.aclose()
        except asyncio.CancelledError:
            if not request.gone:
                raise
        finally:
            await reply.aclose()
            if request.watcher is not None:
                request.watcher.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await request.watcher


def _start(status: int, headers: Headers) -> Message:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
