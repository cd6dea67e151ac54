"""What a face sends for one request, with a sign of life while there is nothing else to send."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

Headers = list[tuple[str, str]]


class Wire(Protocol):
    """A server's own way of answering in pieces."""

    async def begin(self, status: int, headers: Headers) -> None:
        """Send status and headers."""
        ...

    def send(self, chunk: bytes) -> Awaitable[None]:
        """Send a piece of the body; done when the server has taken it."""
        ...


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """How a stream shows that it lives.

    Attributes:
        every_s: `text` goes out when nothing else did for so many seconds.
        headers: those of the response, asked for when the first `text` has to begin it.
        failure: the last event of a response that fails after that, from the body that its error response would have.
        text: a comment, which readers of server-sent events skip.
    """

    every_s: float
    headers: Callable[[], Headers]
    failure: Callable[[bytes], bytes]
    text: bytes = b": keep-alive\n\n"


class Reply:
    """A response in pieces. Whoever has one calls `aclose` at the end, whatever happens.

    Attributes:
        begun: status and headers are out, or on their way: the status can no longer be chosen.
    """

    __slots__ = ("_keep_alive", "_now", "_quiet_since", "_sign", "_timer", "_wire", "begun")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.begun = False
        self._keep_alive: KeepAlive | None = None
        self._quiet_since: float | None = None
        """On the loop's clock; None while a piece is being sent."""
        self._timer: asyncio.TimerHandle | None = None
        self._sign: asyncio.Task[None] | None = None

    def keep_alive(self, how: KeepAlive) -> None:
        """From here on, show the client that its request lives. The first sign begins the response, with 200."""
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._keep_alive, self._quiet_since = how, loop.time()
        self._timer = loop.call_later(how.every_s, self._look)

    async def begin(self, status: int, headers: Headers) -> None:
        """Send status and headers, unless a sign of life has sent its own."""
        if not self.begun:
            self.begun = True
            await self._wire.begin(status, headers)

    async def send(self, chunk: bytes) -> None:
        """Send a piece of the body."""
        if self._sign is not None:
            await self._sign
            self._sign = None
        if self._timer is None:
            await self._wire.send(chunk)
            return
        self._quiet_since = None
        await self._wire.send(chunk)
        self._quiet_since = self._now()

    async def fail(self, body: bytes) -> None:
        """End a response that a sign of life has begun by the body of an error response, as its last event."""
        assert self._keep_alive is not None
        await self.send(self._keep_alive.failure(body))

    def quiet(self) -> None:
        """Give no more signs of life. Before it, another one may begin the response at any moment."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def aclose(self) -> None:
        """Nothing more is sent."""
        self.quiet()
        if self._sign is not None:
            self._sign.cancel()
            await asyncio.wait({self._sign})

    def _look(self) -> None:
        """Give a sign of life if it is time, and look again when the next is due."""
        how = self._keep_alive
        assert how is not None
        loop = asyncio.get_running_loop()
        now = loop.time()
        due = now + how.every_s
        if self._quiet_since is not None and (self._sign is None or self._sign.done()):
            due = self._quiet_since + how.every_s
            if due <= now:
                self._quiet_since, due = now, now + how.every_s
                first, self.begun = not self.begun, True
                self._sign = loop.create_task(self._give_sign(how, first))
        self._timer = loop.call_at(due, self._look)

    async def _give_sign(self, how: KeepAlive, first: bool) -> None:
        with contextlib.suppress(Exception):  # the client has gone: whoever serves the request hears of that itself
            if first:
                await self._wire.begin(200, how.headers())
            await self._wire.send(how.text)
