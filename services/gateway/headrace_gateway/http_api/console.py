"""`/console`: the files of the web console, which tracing has, and the sessions of those who log in there.

The browser keeps a session in a cookie that no script can read and that goes to this site alone. It counts only beside
a header that other sites cannot send, so a request that another site makes for somebody is nobody's.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from headrace_gateway.admission.door import Visit
from headrace_gateway.admission.keys import ApiKey
from headrace_gateway.admission.sessions import SCHEME, Sessions
from headrace_gateway.context import RequestContext
from headrace_gateway.http_api.answers import json_response
from headrace_gateway.http_api.port import Headers, Request, Response
from headrace_gateway.http_api.read import decode
from headrace_gateway.http_api.router import Route
from headrace_protos.tracing.v1 import console_pb2 as pb

COOKIE = "headrace_session"
HEADER = "x-headrace-console"
"""Sent by the console's own scripts. A form cannot, and for a script of another site the browser would ask first."""
_MAX_BODY = 4096
_NO_STORE = ("cache-control", "no-store")


class Login(Struct, forbid_unknown_fields=True):
    """An API key, to begin a session."""

    key: Annotated[str, Meta(min_length=1, max_length=512)]


_login = msgspec.json.Decoder(Login)


def session_of(request: Request) -> str:
    """`authorization` for the session that a request belongs to; empty for none."""
    if not request.header(HEADER):
        return ""
    for part in request.header("cookie").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return f"{SCHEME} {value}"
    return ""


class ConsoleApi:
    """The console's own routes. What it shows comes from `/v1`, as for any client.

    Args:
        sessions: begins them.
        file: asks tracing.
    """

    def __init__(
        self,
        sessions: Sessions,
        file: Callable[[RequestContext, pb.GetFileRequest], Awaitable[pb.GetFileResponse]],
    ) -> None:
        self._sessions, self._file = sessions, file

    def routes(self) -> list[Route]:
        """The routes of this part."""
        session = "/console/session"
        return [
            Route("GET", "/console", self.home, public=True),
            Route("GET", "/console/", self.file, public=True),
            Route("GET", session, self.who),
            Route("POST", session, self.login, public=True, traced=False),
            Route("DELETE", session, self.logout, public=True, traced=False),
            Route("GET", "/console/{path*}", self.file, public=True),
        ]

    async def home(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """The console is a folder: its links are relative to it."""
        return Response(308, b"", [("location", "/console/")])

    async def file(self, visit: Visit, request: Request, parameters: Mapping[str, str]) -> Response:
        """A file of the console, or for the path of a page the application."""
        gzip = any(word.strip().partition(";")[0] == "gzip" for word in request.header("accept-encoding").split(","))
        asked = pb.GetFileRequest(
            path=parameters.get("path", ""), etag=request.header("if-none-match")[:128], gzip=gzip
        )
        found = await self._file(visit.ctx, asked)
        return Response(304 if found.not_modified else 200, found.body, list(found.headers.items()))

    async def login(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Begin a session. The answer says whose it is; the cookie holds no key."""
        session = await self._sessions.begin(decode(_login, await request.body(_MAX_BODY)).key)
        response = json_response(_who(session.key), visit.ctx, 201)
        life_s = session.expires_at - int(time.time())
        response.headers += [_NO_STORE, _cookie(request, session.token, life_s)]
        return response

    async def who(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Whose session this is."""
        assert visit.key is not None
        response = json_response(_who(visit.key), visit.ctx)
        response.headers.append(_NO_STORE)
        return response

    async def logout(self, visit: Visit, request: Request, _: Mapping[str, str]) -> Response:
        """Forget the session in this browser."""
        headers: Headers = [_NO_STORE, _cookie(request, "", 0)]
        return Response(204, b"", headers)


def _cookie(request: Request, value: str, life_s: int) -> tuple[str, str]:
    secure = "; Secure" if request.header("x-forwarded-proto").lower() == "https" else ""
    return ("set-cookie", f"{COOKIE}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict{secure}")


def _who(key: ApiKey) -> dict[str, Any]:
    return {"tenant": key.tenant, "key": {"id": key.id, "name": key.name}, "scopes": sorted(key.scopes)}
