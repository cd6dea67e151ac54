"""Server-sent events: what the streams of all shapes have in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from headrace_gateway.admission.door import Visit
from headrace_gateway.http_api.answers import headrace_headers
from headrace_gateway.http_api.port import Headers, Request, Stream
from headrace_gateway.http_api.reply import KeepAlive
from headrace_gateway.pipeline import Answer


def event(data: bytes) -> bytes:
    """One event without a name. `data` holds no line break, as no JSON of ours does."""
    return b"data: " + data + b"\n\n"


def keep_alive(request: Request, visit: Visit, every_s: float, failure: Callable[[bytes], bytes]) -> None:
    """Let a stream show that it lives, also before its first piece is there.

    A request that fails before the first sign gets the status of its error; one that fails later ends its stream with
    the event that `failure` makes of the error's body.
    """
    request.reply.keep_alive(KeepAlive(every_s, lambda: _headers(visit), failure))


def event_stream(visit: Visit, answer: Answer, events: AsyncGenerator[bytes, None]) -> Stream:
    """The response that `events` of an answer are."""
    return Stream(200, events, _headers(visit), [answer.aclose])


def _headers(visit: Visit) -> Headers:
    headers = [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")]
    return [*headers, *headrace_headers(visit.ctx)]
