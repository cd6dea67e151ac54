"""HTTP servers inside the service's own event loop, on granian's embedded server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from granian.constants import Interfaces
from granian.http import HTTP1Settings, HTTP2Settings
from granian.net import SocketSpec  # type: ignore[attr-defined]
from granian.server.embed import Server
from prometheus_client import CollectorRegistry, exposition

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a connection may take.

    Attributes:
        connections: most connections at one time, idle ones included.
        header_bytes: most bytes of a request's line and headers, at least 8192; more is answered with 431.
        unread_s: a client that takes nothing of what is sent to it for so many seconds is cut off.
    """

    connections: int = 1024
    header_bytes: int = 65_536
    unread_s: float = 30


class _Server(Server):
    """granian's embedded server with a listener of ours: what is set on it holds for every connection.

    granian takes whatever an application sends at once, without bound and without end, and cannot be told otherwise.
    So the kernel ends connections that do not move: TCP_USER_TIMEOUT also ends those whose peer lives, but has its
    window shut for so long (since Linux 5.11).
    """

    def __init__(self, target: Any, unread_s: float, **options: Any) -> None:
        super().__init__(target, **options)
        self._unread_s = unread_s

    def _init_shared_socket(self) -> None:
        holder = SocketSpec(self.bind_addr, self.bind_port, self.backlog).build()
        self._shd: Any = holder
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            with socket.socket(fileno=os.dup(holder.get_fd())) as listener:
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self._unread_s * 1000))


class HttpServer:
    """One RSGI application on one port.

    Args:
        rsgi: the application.
        host: address to bind.
        port: port to bind.
        limits: of connections; later ones wait to be accepted.
    """

    def __init__(self, rsgi: Any, host: str, port: int, limits: HttpLimits | None = None) -> None:
        limits = limits or HttpLimits()
        self._address = (host, port)
        self._rsgi = rsgi
        self._leaving = False
        self._asked_at = -math.inf
        self._server = _Server(
            self._serve,
            unread_s=limits.unread_s,
            address=host,
            port=port,
            interface=Interfaces.RSGI,
            websockets=False,
            log_enabled=False,
            backlog=1024,
            backpressure=limits.connections,
            http1_settings=HTTP1Settings(header_read_timeout=30_000, max_buffer_size=limits.header_bytes),
            http2_settings=HTTP2Settings(max_headers_size=limits.header_bytes, keep_alive_interval=30_000),
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; returns when connections are accepted. Raises OSError when the port is taken."""
        with socket.socket() as probe:
            # granian's own failure is an untyped one; SO_REUSEADDR as its listener does.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(self._address)
            except OSError as error:
                raise OSError(
                    error.errno, f"cannot listen on {self._address[0]}:{self._address[1]}: {error}"
                ) from error
        self._task = asyncio.create_task(self._server.serve())
        async with asyncio.timeout(10):
            while not await self._accepts():
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.01)

    def leave(self) -> None:
        """Serve on, but tell every client with its next response to connect anew, which leads it to another replica."""
        self._leaving = True

    def silent_s(self) -> float:
        """Seconds since a request began, of those that came after `leave`."""
        return time.monotonic() - self._asked_at

    def _serve(self, scope: Any, protocol: Any) -> Any:
        if self._leaving:
            self._asked_at = time.monotonic()
        return self._rsgi(scope, _LastResponse(protocol) if self._leaving else protocol)

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(*self._address)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    async def refuse(self) -> None:
        """Stop listening and close connections that are idle; returns when the port is closed. Open responses go on."""
        if self._task is None:
            return
        self._server.stop()  # type: ignore[no-untyped-call]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while await self._accepts():  # noqa: ASYNC110 - nothing tells when granian has closed it
                    await asyncio.sleep(0.01)

    async def stop(self, within_s: float = 5) -> None:
        """Stop listening; open responses may go on for so long, then they are cut."""
        if self._task is None:
            return
        self._server.stop()  # type: ignore[no-untyped-call]
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.wait_for(self._task, within_s)


class _LastResponse:
    """RSGI's protocol of a request, with `connection: close` in the response. HTTP/2 knows no such header."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._protocol, name)
        if not name.startswith("response_"):
            return found
        return lambda status, headers, *body: found(status, [*headers, ("connection", "close")], *body)

    async def __call__(self, *args: Any) -> Any:
        return await self._protocol(*args)

    def __aiter__(self) -> Any:
        return self._protocol.__aiter__()


class OpsApp:
    """`/healthz` (the process lives), `/readyz` (it can serve) and `/metrics` as RSGI.

    Prometheus says how it wants its text; OpenMetrics has examples of what was observed, by their traces.
    """

    def __init__(self, problems: Callable[[], list[str]], registry: CollectorRegistry) -> None:
        self._problems = problems
        self._registry = registry

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request."""
        plain = [("content-type", "application/json")]
        if scope.path == "/healthz":
            protocol.response_str(200, plain, '{"status":"ok"}')
        elif scope.path == "/readyz":
            problems = self._problems()
            body = json.dumps({"status": "not ready" if problems else "ready", "problems": problems})
            protocol.response_str(503 if problems else 200, plain, body)
        elif scope.path == "/metrics":
            encode, kind = exposition.choose_encoder(scope.headers.get("accept") or "")
            protocol.response_bytes(200, [("content-type", kind)], encode(self._registry))
        else:
            protocol.response_str(404, plain, '{"error":"try /healthz, /readyz or /metrics"}')
