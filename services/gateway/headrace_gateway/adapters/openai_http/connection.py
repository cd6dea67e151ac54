"""One HTTP/1.1 connection: a request, its response, and the next one when both ended as they should."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, cast

import httptools

from headrace_kit.errors import DeadlineExceeded, HeadraceError, Upstream

MAX_HEADER_BYTES = 64 << 10
MAX_BODY_BYTES = 64 << 20
_PAUSE_BYTES = 256 << 10
_DRAIN_BYTES = 64 << 10
_DRAIN_S = 1.0
_NEVER = float("inf")

Told = Callable[["Connection"], None]


class Connection(asyncio.Protocol):
    """Carries one exchange at a time: `send`, then `whole`, or `head` and `piece` until it is empty; then `end`.

    What is late fails in whichever of them waits. One timer serves all exchanges of a connection: it looks anew when
    it fires, and is not moved with each byte.

    Args:
        idle_s: longest wait for the next byte of a response that has begun.
        free: told that the connection can be used again.
        gone: told that it is closed.
    """

    def __init__(self, idle_s: float, free: Told, gone: Told) -> None:
        self._idle_s, self._free, self._gone = idle_s, free, gone
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._state: Literal["unused", "busy", "draining", "closed"] = "unused"
        self.unused_since = 0.0
        self._begin(streams=False)

    def _begin(self, *, streams: bool) -> None:
        self.status = 0
        self._streams = streams
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = self._body_bytes = self._held_bytes = 0
        self._body: list[bytes] = []
        self._error: HeadraceError | None = None
        # `ready`: status and headers are there; `complete`: the body is; `framed`: its end can be told without EOF;
        # `spoiled`: not to be used again.
        self._ready = self._complete = self._framed = self._spoiled = self._paused = False

    @property
    def usable(self) -> bool:
        """Whether a request can be sent on it."""
        return self._state == "unused" and self._transport is not None and not self._transport.is_closing()

    def send(self, data: bytes, *, streams: bool, first_byte_s: float, deadline: float | None) -> None:
        """Send a request whose response is read in pieces (`streams`) or whole.

        `deadline` is on the clock of `time.monotonic`.
        """
        self._begin(streams=streams)
        self._state = "busy"
        self._due = self._loop.time() + first_byte_s
        self._deadline = _NEVER if deadline is None else deadline
        self._watch()
        assert self._transport is not None, "it is connected"
        self._transport.write(data)

    async def whole(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """What is left of the body, when all of it is there; `status` and `header` are known then.

        Raises:
            Upstream: the endpoint broke off, was late, sent more than `limit` bytes, or something that is not HTTP.
            DeadlineExceeded: the caller's time is up.
        """
        while not self._complete:
            await self._wait()
            if self._body_bytes > limit:
                raise _failed("sent more than it may")
            self._resume()
        return self._take()

    async def head(self) -> None:
        """Return when status and headers are there. Raises as `whole`."""
        while not self._ready:
            await self._wait()

    async def piece(self) -> bytes:
        """The next bytes of the body; empty at its end. Raises as `whole`."""
        while not self._body and not self._complete:
            await self._wait()
        data = self._take()
        if self._paused:
            self._resume()
        return data

    def header(self, name: bytes) -> str | None:
        """A header of the response, by its name in lower case."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    def end(self) -> None:
        """Nothing more is wanted of this exchange. One that is not over closes the connection."""
        if self._state == "busy":
            if self._complete:
                self._finish()
            else:
                self.close()

    def end_soon(self) -> None:
        """The same where all that matters was read: what else belongs to the response may still come, briefly."""
        if self._state == "busy" and not self._complete and self._error is None:
            self._state = "draining"
            self._body_bytes = 0
            self._due = self._loop.time() + _DRAIN_S
            self._watch()
            self._resume()
        else:
            self.end()

    def close(self) -> None:
        """Close it at once."""
        self._state = "closed"
        if self._transport is not None:
            self._transport.abort()

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self._state not in ("busy", "draining"):
            self.close()  # what comes unasked belongs to no request
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._complete:
                self._fail(_failed("answered something that is not HTTP"))
            self._spoiled = True
        if self._state == "draining":
            if self._complete:
                self._finish()
            elif self._body_bytes > _DRAIN_BYTES or self._spoiled:
                self.close()
            return
        if self._ready:
            self._due = self._loop.time() + self._idle_s
        if self._waiter is not None and (
            self._complete or (self._streams and self._ready) or self._body_bytes > MAX_BODY_BYTES
        ):
            self._wake()
        if self._held_bytes > _PAUSE_BYTES and self._streams and not self._paused and not self._complete:
            self._paused = True
            cast(asyncio.Transport, self._transport).pause_reading()

    def eof_received(self) -> bool:
        """See asyncio: a body without a length ends here."""
        if self._ready and not self._framed and not self._complete:
            self._complete = self._spoiled = True
            self._wake()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio."""
        if self._state == "busy" and not self._complete:
            self._fail(_failed("broke off in the middle of its answer" if self._ready else "hung up without an answer"))
        self._state = "closed"
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._gone(self)

    # What the parser tells. After the end of a response each of these is a sign that the connection is not to be used.

    def on_message_begin(self) -> None:
        """See httptools."""
        self._spoiled = self._spoiled or self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._fail(_failed("sent too many headers"))
        elif not self._complete:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """See httptools."""
        status = self._parser.get_status_code()
        if self._complete or self._ready:
            return
        if 100 <= status < 200:  # the response is still to come
            self._headers.clear()
            return
        self.status, self._ready = status, True
        self._framed = b"content-length" in self._headers or b"transfer-encoding" in self._headers

    def on_body(self, data: bytes) -> None:
        """See httptools."""
        if not self._complete and self._ready:
            size = len(data)
            self._body_bytes += size
            if self._state == "busy":
                self._held_bytes += size
                self._body.append(data)

    def on_message_complete(self) -> None:
        """See httptools."""
        if self._ready and not self._complete:
            self._complete = True
            self._spoiled = self._spoiled or not self._parser.should_keep_alive()

    # Inside.

    def _wait(self) -> asyncio.Future[None]:
        """Done when there is news. What the exchange fails with is raised: at once, or from the future."""
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        if self._error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(self._error)

    def _fail(self, error: HeadraceError) -> None:
        if self._error is None:
            self._error = error
            self._spoiled = True
            self._wake()

    def _take(self) -> bytes:
        body, self._body = self._body, []
        self._held_bytes = 0
        return body[0] if len(body) == 1 else b"".join(body)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._held_bytes = 0
            self._due = self._loop.time() + self._idle_s
            cast(asyncio.Transport, self._transport).resume_reading()

    def _finish(self) -> None:
        if self._spoiled or self._error is not None or cast(asyncio.Transport, self._transport).is_closing():
            self.close()
            return
        self._state = "unused"
        self._free(self)

    def _watch(self) -> None:
        """See that the timer fires no later than the next limit, which a first byte may bring nearer."""
        at = min(self._due, self._deadline, self._loop.time() + self._idle_s)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._state not in ("busy", "draining") or self._complete:
            return
        now = self._loop.time()
        if self._paused:  # it is we who do not read
            self._due = max(self._due, now + self._idle_s)
        if now >= self._deadline:
            self._fail(DeadlineExceeded("the deadline passed before the answer was there"))
        elif now >= self._due:
            self._fail(Upstream("the model's endpoint gave no sign of life in time", code="engine_timeout"))
        else:
            self._watch()
            return
        if self._transport is not None:
            self._transport.abort()


def _failed(what: str) -> Upstream:
    return Upstream(f"the model's endpoint {what}", code="engine_failed")
