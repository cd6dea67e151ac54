"""The one port between HTTP servers and the gateway: a request in, a response or a stream out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from headrace_gateway.http_api.reply import Headers as Headers
from headrace_gateway.http_api.reply import KeepAlive


class SignOfLife(Protocol):
    """Where a handler asks for signs of life before it has an answer."""

    def keep_alive(self, how: KeepAlive) -> None:
        """From here on, show the client that its request lives. The first sign begins the response, with 200."""
        ...


class Request(Protocol):
    """An HTTP request as a server gives it. `path` is percent-decoded, `query` is not; header names are lower case."""

    method: str
    path: str
    query: str

    @property
    def reply(self) -> SignOfLife:
        """The way of its answer."""
        ...

    def header(self, name: str) -> str:
        """A header's value, empty when it was not sent or is not text."""
        ...

    async def body(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            TooLarge: it has more than `limit` bytes; reading stops there.
            BadInput: it ended before its announced length, or did not arrive in time.
        """
        ...

    def follow_client(self) -> None:
        """From here on, a client that hangs up cancels the task that serves the request."""
        ...


@dataclass(slots=True)
class Response:
    """A whole response."""

    status: int
    body: bytes
    headers: Headers = field(default_factory=list)


@dataclass(slots=True)
class Stream:
    """A response in pieces. Whoever got it calls `aclose` at the end, whatever happens, also before the first piece.

    `on_close` is awaited in order then: a generator that was never started runs none of its own `finally`.
    """

    status: int
    chunks: AsyncGenerator[bytes, None]
    headers: Headers = field(default_factory=list)
    on_close: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    async def aclose(self) -> None:
        """Stop what is still at work for this stream."""
        try:
            await self.chunks.aclose()
        finally:
            for close in self.on_close:
                await close()


class Application(Protocol):
    """What both faces serve."""

    async def handle(self, request: Request) -> Response | Stream:
        """Answer a request; never raises but for cancellation."""
        ...


BODY_TIMEOUT_S = 60.0
"""Longest wait for a request's body, so that a slow sender does not hold a place for ever."""
