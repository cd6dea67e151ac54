"""A provider that plays transcripts, and engines on it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from inference_suite.hosted import PIXEL
from inference_suite.provider import KEY, Provider

from headrace_inference.adapters.litellm.engine import LiteLlmEngine
from headrace_inference.adapters.litellm.library import library
from headrace_kit.config import Secrets
from headrace_kit.config.deployments import LiteLlmDeployment

MODELS = {
    "openai": "openai/gpt-4.1-mini",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini/gemini-2.5-flash",
}


async def picture(_: web.Request) -> web.Response:
    """A picture of one pixel."""
    return web.Response(body=base64.b64decode(PIXEL.partition(",")[2]), content_type="image/png")


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A provider on a free port."""
    playing = Provider()
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_get("/picture.png", picture)
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
