"""A provider on loopback that plays transcripts over real HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from headrace_inference.adapters.litellm.engine import LiteLlmEngine
from headrace_inference.adapters.litellm.library import library
from headrace_kit.config import Secrets
from headrace_kit.config.deployments import LiteLlmDeployment

RECORDINGS = Path(__file__).parents[1] / "recordings"
KEY = "sk-test-0123456789abcdefsecret"
MODELS = {
    "openai": "openai/gpt-4.1-mini",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini/gemini-2.5-flash",
}


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


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A provider on a free port."""
    playing = Provider()
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_route("*", "/{rest:.*}", playing.handle)
    # A client that hangs up cancels its handler: that is how the tests see it.
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    playing.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield playing
    await runner.cleanup()


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    """A folder of secrets with the key."""
    (tmp_path / "provider").write_text(KEY)
    return Secrets(tmp_path)


@pytest.fixture
async def make(provider: Provider, secrets: Secrets) -> Callable[..., LiteLlmEngine]:
    """Makes an engine on the provider: `make("openai", accepts=["image"])`."""
    await library()

    def engine(vendor: str, **options: Any) -> LiteLlmEngine:
        address = provider.address + ("/v1" if vendor == "openai" else "")
        config = LiteLlmDeployment.model_validate(
            {"model": MODELS[vendor], "address": address, "credentials": {"secret": "provider"}, "timeout": 20}
            | options
        )
        return LiteLlmEngine("hosted", config, secrets)

    return engine


def body_of(seen: Seen) -> str:
    """The request's body as text, to search in."""
    return json.dumps(seen.body)
