"""HTTP to one server: pooled connections, no proxy, and a cancel that closes the connection."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec

from headrace_inference.adapters.openai_compatible.errors import error_of, failure_of_body
from headrace_kit.errors import HeadraceError, NotReady, Upstream

CONNECT_S = 5.0
KEEP_ALIVE_S = 4.0
"""Below the 5 s after which uvicorn, under vLLM, SGLang and NIM, closes an idle connection."""

STALE_S = 1.0
"""An idle connection that the server had closed breaks within this time of being used again."""

_PROBE_S = 5.0
_DRAIN_S = 1.0
_ERROR_BYTES = 64 << 10
_LARGE_BYTES = 256 << 10
_PROBE_BYTES = 8 << 20


class Reply:
    """The body of a response, as it comes.

    Args:
        response: with status 200.
        silence_s: longest wait for the next bytes.
    """

    def __init__(self, response: aiohttp.ClientResponse, silence_s: float) -> None:
        self._response = response
        self._silence_s = silence_s
        self._heard = time.monotonic()

    async def read(self, wait_s: float | None) -> bytes | None:
        """The next bytes, b"" at the end, or None when nothing came within `wait_s` seconds.

        Raises:
            Upstream: the server fell silent, or the connection broke.
        """
        left = self._heard + self._silence_s - time.monotonic()
        if left <= 0:
            raise _silent(self._silence_s)
        try:
            async with asyncio.timeout(left if wait_s is None else min(left, wait_s)):
                data = await self._response.content.readany()
        except TimeoutError:
            return None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Upstream("the engine's server went away in the middle of the answer", code="engine_failed") from error
        self._heard = time.monotonic()
        return data

    async def drain(self) -> None:
        """Read what is left of a body that has said all: the connection can serve the next request."""
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, ConnectionError):
            async with asyncio.timeout(_DRAIN_S):
                while await self._response.content.readany():
                    pass


@dataclass(slots=True)
class _Try:
    """What a request was sent on."""

    reused: bool = False


async def _reused(_: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.reused = True


class Server:
    """A server at a base URL. It connects when first called, in the event loop of that call.

    Args:
        address: base URL, without `/v1`.
        credentials: gives the bearer token, or None; asked at each call, so that a rotated one is seen.
        silence_s: longest wait for the next bytes of an answer.
    """

    def __init__(self, address: str, credentials: Callable[[], str | None], silence_s: float) -> None:
        self.address = address.rstrip("/")
        self._credentials = credentials
        self._silence_s = silence_s
        self._pooled: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None

    @contextlib.asynccontextmanager
    async def post(self, path: str, body: dict[str, Any], response_format: str) -> AsyncIterator[Reply]:
        """POST a request. Leaving before the end of the body closes the connection, which tells the server to stop.

        Args:
            path: below the base URL.
            body: becomes JSON.
            response_format: type of the form that the answer is to have, see `error_of`.

        Raises:
            NotReady: the server cannot be reached, does not serve the model, or our key for it is missing.
            Busy, BadInput: it said so.
            Upstream: it failed or fell silent.
        """
        try:
            async with asyncio.timeout(self._silence_s):
                response = await self._send(self.address + path, msgspec.json.encode(body))
        except TimeoutError as error:
            raise _silent(self._silence_s) from error
        except aiohttp.ClientError as error:
            raise self._unreachable(error) from error
        try:
            if response.status != 200:
                raise await self._refused(response, response_format)
            yield Reply(response, self._silence_s)
        finally:
            response.close()  # one that was read to its end has given its connection back already

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET.

        Raises:
            NotReady: the server cannot be reached, does not answer in time, or our key for it is missing.
        """
        try:
            async with asyncio.timeout(_PROBE_S):
                # aiohttp itself sends a GET again when an idle connection turns out to be closed
                async with self._pool().get(self.address + path, headers=self._headers()) as response:
                    return response.status, await _at_most(response, _PROBE_BYTES)
        except (TimeoutError, aiohttp.ClientError) as error:
            raise self._away() from error

    async def close(self) -> None:
        """Close all connections."""
        for session in (self._pooled, self._fresh):
            if session is not None:
                await session.close()
        self._pooled = self._fresh = None

    async def _send(self, url: str, body: bytes) -> aiohttp.ClientResponse:
        """POST on a pooled connection, and once more on a fresh one when the server had closed that while idle."""
        attempt = _Try()
        began = time.monotonic()
        try:
            return await self._pool().post(url, data=_payload(body), headers=self._headers(), trace_request_ctx=attempt)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # One that took long was at work on the request, which may be what broke it.
            if not attempt.reused or time.monotonic() - began > STALE_S:
                raise
        if self._fresh is None:
            self._fresh = _session(aiohttp.TCPConnector(limit=0, force_close=True))
        return await self._fresh.post(url, data=_payload(body), headers=self._headers())

    def _pool(self) -> aiohttp.ClientSession:
        if self._pooled is None:
            # Admission bounds the requests, so that a wait for a connection would be a second queue.
            self._pooled = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S))
        return self._pooled

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if credentials := self._credentials():
            headers["authorization"] = f"Bearer {credentials}"
        return headers

    async def _refused(self, response: aiohttp.ClientResponse, response_format: str) -> HeadraceError:
        body = b""
        with contextlib.suppress(TimeoutError, aiohttp.ClientError):  # the status says enough
            async with asyncio.timeout(_PROBE_S):
                body = await _at_most(response, _ERROR_BYTES)
        failure = failure_of_body(response.status, body)
        return error_of(failure, response_format, response.headers.get("retry-after"))

    def _unreachable(self, error: aiohttp.ClientError) -> HeadraceError:
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return self._away()
        return Upstream("the engine's server closed the connection without an answer", code="engine_failed")

    def _away(self) -> NotReady:
        return NotReady(f"the engine's server does not answer at {self.address}", code="engine_away", retry_after_s=2)


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(_reused)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"accept-encoding": "identity"},
        trust_env=False,
        trace_configs=[tracing],
    )


def _payload(body: bytes) -> bytes | io.BytesIO:
    """A body with images is written in pieces, between which other requests go on."""
    return body if len(body) < _LARGE_BYTES else io.BytesIO(body)


async def _at_most(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    while len(body) < limit and (data := await response.content.readany()):
        body += data
    return bytes(body)


def _silent(silence_s: float) -> Upstream:
    return Upstream(f"the engine's server fell silent for {silence_s:g} s", code="engine_failed")
