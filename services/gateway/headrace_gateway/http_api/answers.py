"""Responses: JSON, errors in OpenAI's shape, and the `x-headrace-*` headers that every one carries."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec

from headrace_gateway.admission.rates import Meter
from headrace_gateway.context import RequestContext
from headrace_gateway.http_api.port import Headers, Response
from headrace_gateway.outcome import usd
from headrace_kit.errors import ClientGone, DeadlineExceeded, HeadraceError, public_message, row

_encode = msgspec.json.Encoder().encode
JSON = ("content-type", "application/json")


class ErrorBody(msgspec.Struct):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(msgspec.Struct):
    """What an error response holds."""

    error: ErrorBody


def json_response(body: Any, ctx: RequestContext, status: int = 200) -> Response:
    """A JSON response; `body` is anything that msgspec encodes."""
    return Response(status, _encode(body), [JSON, *headrace_headers(ctx)])


def typed(error: BaseException) -> BaseException:
    """Timeouts and cancellations as errors of the table."""
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("the deadline passed before the answer was there")
    if isinstance(error, asyncio.CancelledError):
        return ClientGone("the caller went away")
    return error


def error_body(error: BaseException) -> bytes:
    """The error object as JSON; nothing leaks from an unexpected exception."""
    error = typed(error)
    code = error.code if isinstance(error, HeadraceError) else HeadraceError.code
    param = error.param if isinstance(error, HeadraceError) else None
    return _encode(ErrorEnvelope(ErrorBody(public_message(error), row(error).type, param, code)))


def error_response(error: BaseException, ctx: RequestContext, extra: Headers | None = None) -> Response:
    """The response that an error is, by the one table."""
    error = typed(error)
    headers = [JSON, *headrace_headers(ctx), *(extra or [])]
    if isinstance(error, HeadraceError) and error.retry_after_s is not None:
        headers.append(("retry-after-ms", str(math.ceil(error.retry_after_s * 1000))))
        headers.append(("retry-after", str(max(1, math.ceil(error.retry_after_s)))))
    # What only HTTP knows (a method, a media type) has a status of its own there.
    status = getattr(error, "http_status", 0) or row(error).http
    return Response(status, error_body(error), headers)


def headrace_headers(ctx: RequestContext) -> Headers:
    """Who served this and how, as far as it is known when the headers go out."""
    headers = [("x-headrace-request-id", ctx.request_id), ("x-headrace-trace-id", ctx.trace_id)]
    if ctx.rates is not None:
        headers += _rate_headers(ctx.rates)
    if ctx.plan is not None:
        outcome = ctx.outcome
        headers.append(("x-headrace-model", ctx.plan.name))
        if outcome.deployment:
            headers.append(("x-headrace-deployment", outcome.deployment))
        headers += [("x-headrace-arm", outcome.arm), ("x-headrace-cache", outcome.cache)]
        if not ctx.stream:
            headers.append(("x-headrace-cost-usd", usd(ctx.cost_nano_usd)))
    return headers


def _rate_headers(rates: Meter) -> Headers:
    """OpenAI's `x-ratelimit-*`: limits of the team or the key, whichever is nearer, and what is left of this gateway's
    share of them."""
    now, headers = rates.clock(), Headers()
    if (bucket := rates.requests) is not None:
        left, full_in = bucket.state(now)
        headers += [
            ("x-ratelimit-limit-requests", str(bucket.per_minute)),
            ("x-ratelimit-remaining-requests", str(left)),
            ("x-ratelimit-reset-requests", f"{full_in:.3f}s"),
        ]
    if (bucket := rates.tokens) is not None:
        left, full_in = bucket.state(now)
        headers += [
            ("x-ratelimit-limit-tokens", str(bucket.per_minute)),
            ("x-ratelimit-remaining-tokens", str(left)),
            ("x-ratelimit-reset-tokens", f"{full_in:.3f}s"),
        ]
    return headers
