"""Sends a webhook over HTTP to where it may be sent: nowhere inside, unless the config allows the host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from headrace_kit.config.cascades import Webhook
from headrace_kit.webhooks import post


class HttpPost:
    """Posts JSON. Redirects are not followed; a name is resolved once, and its addresses must be public.

    Args:
        allowed: hosts that may also be called without TLS and at addresses that are not public.
    """

    def __init__(self, allowed: Callable[[], Collection[str]]) -> None:
        self._allowed = allowed

    async def __call__(self, hook: Webhook, body: bytes, headers: dict[str, str]) -> None:
        """See `Post`."""
        trusted = hook.host in self._allowed()
        await asyncio.to_thread(post, hook.url, body, headers, trusted, "services.gateway.webhook_hosts")
