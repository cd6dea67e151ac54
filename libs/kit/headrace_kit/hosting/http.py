"""HTTP servers inside the service's own event loop, on granian's embedded server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Callable
from typing import Any

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from prometheus_client import CollectorRegistry, exposition

_log = logging.getLogger(__name__)


class HttpServer:
    """One RSGI application on one port."""

    def __init__(self, rsgi: Any, host: str, port: int) -> None:
        self._address = (host, port)
        self._server = Server(
            rsgi,
            address=host,
            port=port,
            interface=Interfaces.RSGI,
            websockets=False,
            log_enabled=False,
            backlog=1024,
            http1_settings=HTTP1Settings(header_read_timeout=30_000),
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

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(*self._address)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    async def stop(self) -> None:
        """Stop listening; open responses are given a moment, then cut."""
        if self._task is None:
            return
        self._server.stop()  # type: ignore[no-untyped-call]
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.wait_for(self._task, 5)


class OpsApp:
    """`/healthz` (the process lives), `/readyz` (it can serve) and `/metrics` (Prometheus text) as RSGI."""

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
            body_bytes = exposition.generate_latest(self._registry)
            protocol.response_bytes(200, [("content-type", exposition.CONTENT_TYPE_PLAIN_0_0_4)], body_bytes)
        else:
            protocol.response_str(404, plain, '{"error":"try /healthz, /readyz or /metrics"}')
