"""A provider on loopback that plays transcripts over real HTTP."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

RECORDINGS = Path(__file__).parents[2] / "recordings"
KEY = "sk-test-0123456789abcdefsecret"


@dataclass
class Seen:
    """A request that the provider got."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Provider:
    """Plays `answer` (`<provider>/<name>`) to every request.

    Attributes:
        stop_after: events after which `then` happens; None plays all.
        then: `hang` keeps the connection open, `reset` breaks it.
        left: set when a client hung up on an answer that hangs.
    """

    address: str = ""
    answer: str = ""
    stop_after: int | None = None
    then: str = "hang"
    seen: list[Seen] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(Seen(request.path_qs, dict(request.headers), await request.json()))
        head, _, body = (RECORDINGS / f"{self.answer}.http").read_bytes().partition(b"\n\n")
        status, *lines = head.decode().splitlines()
        headers = dict(line.split(": ", 1) for line in lines)
        if "event-stream" not in headers["content-type"]:
            if self.stop_after == 0:
                await self._hang()
            return web.Response(status=int(status.split()[1]), headers=headers, body=body)
        response = web.StreamResponse(status=int(status.split()[1]), headers=headers)
        if self.stop_after != 0:
            await response.prepare(request)
        separator = b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"
        for number, event in enumerate(body.split(separator)[:-1]):
            if number == self.stop_after:
                if self.then == "reset":
                    _reset(request)
                    return response
                await self._hang()
            await response.write(event + separator)
        return response

    async def _hang(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()


def _reset(request: web.Request) -> None:
    """Break the connection as a crash does: by RST, without an end of the body."""
    assert request.transport is not None
    request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()
