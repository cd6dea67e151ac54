"""`Idempotency-Key` over HTTP: one of the requests under a key is served, the others get the same bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from headrace_gateway.admission.door import Visit
from headrace_gateway.admission.limits import InFlight
from headrace_gateway.http_api.port import Headers, Request, Response, Stream
from headrace_gateway.http_api.reply import KeepAlive, Reply
from headrace_gateway.idempotency.once import KEY, Ask, Once, rights, standing
from headrace_gateway.idempotency.recording import Head, Recording
from headrace_kit.errors import TooLarge, row

Serve = Callable[[Visit, Request], Awaitable[Response | Stream]]
"""Serves a request to its end; raises nothing but cancellation, which leaves nothing open."""

_STANDING = "x-headrace-idempotency"


class Signs:
    """Signs of life for all who wait for one answer, as soon as whoever makes it knows how to give them."""

    def __init__(self) -> None:
        self._how: KeepAlive | None = None
        self._replies: set[Reply] = set()

    def keep_alive(self, how: KeepAlive) -> None:
        """See `Reply`."""
        self._how = how
        for reply in self._replies:
            reply.keep_alive(how)

    def join(self, reply: Reply) -> None:
        """A reader waits for the answer's beginning."""
        self._replies.add(reply)
        if self._how is not None:
            reply.keep_alive(self._how)

    def leave(self, reply: Reply) -> None:
        """It waits no more."""
        self._replies.discard(reply)


class ReadRequest:
    """A request whose body is here, served for whoever listens: its own client may leave."""

    def __init__(self, request: Request, body: bytes, signs: Signs) -> None:
        self.method, self.path, self.query = request.method, request.path, request.query
        self.reply = signs
        self._request, self._body = request, body

    def header(self, name: str) -> str:
        """See `Request`."""
        return self._request.header(name)

    async def body(self, limit: int) -> bytes:
        """See `Request`."""
        if len(self._body) > limit:
            raise TooLarge(f"the body has more than {limit} bytes, the limit")
        return self._body

    def follow_client(self) -> None:
        """See `Request`: others may be waiting for the answer, so it is made to its end."""


class HttpOnce:
    """Serves requests that have an idempotency key.

    Args:
        once: knows all answers.
        in_flight: ends what is at work when draining takes too long.
        max_body_bytes: the limit at this moment.
    """

    def __init__(self, once: Once, in_flight: InFlight, max_body_bytes: Callable[[], int]) -> None:
        self._once, self._in_flight, self._max_body_bytes = once, in_flight, max_body_bytes

    async def answer(self, visit: Visit, request: Request, serve: Serve) -> Response | Stream:
        """Find the answer, or have it made.

        Raises:
            HeadraceError: the body cannot be read; the key is no key, or was used for another request; or whatever the
                request failed with before `serve` was asked.
        """
        body = await request.body(self._max_body_bytes())
        request.follow_client()
        who = visit.ctx.identity
        head = f"http {request.method} {request.path}\n{request.query}\n{request.header('content-type')}{rights(who)}"
        ask = Ask.of(who.tenant, request.header(KEY), (head.encode("utf-8", "surrogatepass"), body))
        signs, served = Signs(), visit

        async def make(recording: Recording) -> None:
            answer = await serve(served, ReadRequest(request, body, signs))
            headers = list(answer.headers)
            if isinstance(answer, Response):
                recording.good = answer.status < 300
                recording.begin(Head(answer.status, headers, stream=False))
                recording.add(answer.body)
                return
            recording.begin(Head(answer.status, headers, stream=True))
            try:
                async with aclosing(answer.chunks) as chunks:
                    async for chunk in chunks:
                        recording.add(chunk)
                recording.good = served.stream_error is None
            finally:
                await answer.aclose()

        def done(error: BaseException | None) -> None:
            if error is None:
                served.leave(200)
            else:
                served.leave(row(error).http if isinstance(error, Exception) else 499, error)

        recording, task = self._once.join(ask, make, done, signs)
        if task is not None:
            served = visit.hand_on()
            self._in_flight.serves(task)
        return await _read(visit, request, recording, first=task is not None)


async def _read(visit: Visit, request: Request, recording: Recording, *, first: bool) -> Response | Stream:
    reply, signs = request.reply, recording.audience
    assert isinstance(reply, Reply) and isinstance(signs, Signs)
    signs.join(reply)
    try:
        async with asyncio.timeout(visit.ctx.remaining_s()):
            head = await recording.begun()
    finally:
        signs.leave(reply)
    word = standing(recording, first=first)
    headers: Headers = [*head.headers, (_STANDING, word)]
    if head.stream:
        return Stream(head.status, _told(visit, recording), headers, [visit.stream_closed])
    pieces = [piece async for piece in recording.follow()]
    visit.leave(head.status)
    return Response(head.status, b"".join(pieces), headers)


async def _told(visit: Visit, recording: Recording) -> AsyncGenerator[bytes, None]:
    async with aclosing(recording.follow()) as pieces:
        async for piece in pieces:
            yield piece
    visit.stream_ended(None)
