"""Polling with a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE_S = 60


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = PATIENCE_S) -> float:
    """Wait until an async condition holds; seconds that it took."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < within_s, "it did not happen in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - began
