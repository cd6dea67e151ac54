"""The HTTP application: find the route, let the request in, serve it, and turn whatever is raised into an answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from headrace_gateway.admission.door import Door, Visit
from headrace_gateway.admission.limits import shut_down
from headrace_gateway.arms.canary import ROUTED
from headrace_gateway.context import Arrival
from headrace_gateway.http_api.answers import error_response, typed
from headrace_gateway.http_api.console import session_of
from headrace_gateway.http_api.once import HttpOnce
from headrace_gateway.http_api.port import Headers, Request, Response, Stream
from headrace_gateway.http_api.router import Route, Router
from headrace_gateway.idempotency.once import KEY
from headrace_kit.errors import BadInput, Forbidden, HeadraceError, NotFound, row

_log = logging.getLogger(__name__)
_MAX_TIMEOUT_MS = 24 * 3600 * 1000


class MethodNotAllowed(BadInput):
    """The path exists, but not for this method."""

    code = "method_not_allowed"
    http_status = 405


class HttpApplication:
    """Serves all of `/v1`."""

    def __init__(self, router: Router, door: Door, once: HttpOnce) -> None:
        self._router = router
        self._door = door
        self._once = once

    async def handle(self, request: Request) -> Response | Stream:
        """Answer a request. Never raises but for cancellation, which means that nobody listens any more."""
        match = self._router.match(request.method, request.path)
        route = match.route if match else None
        visit = self._door.open(_arrival(request, route))
        try:
            if match is None or "\0" in request.path:
                raise NotFound(f"no such path: {request.path[:200]!r}", code="unknown_path")
            if route is None:
                allow = ", ".join(match.allow)
                error = MethodNotAllowed(f"{request.method[:20]} is not for this path; allowed: {allow}")
                return self._refuse(visit, error, [("allow", allow)])
            if not route.public:
                _read_timeout(request, visit)
                await self._door.admit(visit, asyncio.current_task())
            if route.admin and (visit.key is None or "admin" not in visit.key.scopes):
                raise Forbidden("this needs a key with the scope 'admin'")
            if route.repeatable and request.header(KEY):
                return await self._once.answer(
                    visit, request, lambda served, read: self._serve(served, read, route, match.parameters)
                )
        except (Exception, asyncio.CancelledError) as error:
            return self._failed(visit, error)
        return await self._serve(visit, request, route, match.parameters)

    async def _serve(
        self, visit: Visit, request: Request, route: Route, parameters: Mapping[str, str]
    ) -> Response | Stream:
        try:
            answer = await route.handler(visit, request, parameters)
        except (Exception, asyncio.CancelledError) as error:
            return self._failed(visit, error)
        if isinstance(answer, Stream):
            answer.on_close.append(visit.stream_closed)
        else:
            visit.leave(answer.status)
        return answer

    def _failed(self, visit: Visit, error: Exception | asyncio.CancelledError) -> Response:
        reason = shut_down(error)
        if isinstance(reason, Exception):
            return self._refuse(visit, reason)
        visit.leave(499, error)
        raise error

    def _refuse(self, visit: Visit, error: Exception, headers: Headers | None = None) -> Response:
        if row(typed(error)).http == 500:
            _log.error("request failed", exc_info=error, extra=_ids(visit))
        elif isinstance(error, HeadraceError):
            _log.info("request refused: %s", error.code, extra=_ids(visit))
        response = error_response(error, visit.ctx, headers)
        visit.leave(response.status, error)
        return response


def _ids(visit: Visit) -> dict[str, str]:
    return {"request_id": visit.ctx.request_id, "trace_id": visit.ctx.trace_id}


def _arrival(request: Request, route: Route | None) -> Arrival:
    groups = request.header("x-headrace-groups")
    return Arrival(
        route=f"{route.method} {route.path}" if route else "unknown",
        traced=route is not None and route.is_traced,
        authorization=request.header("authorization") or session_of(request),
        traceparent=request.header("traceparent"),
        user=request.header("x-headrace-user"),
        groups=tuple(filter(None, (group.strip() for group in groups.split(",")))) if groups else (),
        routed=bool(request.header(ROUTED)),
        tenant=request.header("x-headrace-tenant"),
    )


def _read_timeout(request: Request, visit: Visit) -> None:
    sent = request.header("x-headrace-timeout-ms")
    if not sent:
        return
    if not (sent.isascii() and sent.isdecimal() and len(sent) < 12 and 1 <= int(sent) <= _MAX_TIMEOUT_MS):
        raise BadInput(
            f"x-headrace-timeout-ms is a whole number from 1 to {_MAX_TIMEOUT_MS}", param="x-headrace-timeout-ms"
        )
    visit.ctx.limit(int(sent) / 1000)
