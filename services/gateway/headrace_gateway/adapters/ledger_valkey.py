"""The event stream in Valkey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from headrace_kit.errors import NotReady

STREAM = "headrace:events"
_LONGEST = 1_000_000
"""Entries kept, about. What is cut before it was written to the table is sent again by its gateway."""


class ValkeyStream:
    """`EventStream` on a Valkey stream: an entry's field `e` is a serialized `RequestEvent`."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def add(self, events: Sequence[bytes]) -> None:
        """See `EventStream`."""
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for event in events:
                    pipeline.xadd(STREAM, {"e": event}, maxlen=_LONGEST, approximate=True)
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise NotReady("Valkey is away") from error

    async def read(self, after: str, limit: int) -> list[tuple[str, bytes]]:
        """See `EventStream`."""
        try:
            found: Any = await self._client.xrange(STREAM, min=f"({after}" if after else "-", count=limit)
        except (RedisError, OSError, TimeoutError) as error:
            raise NotReady("Valkey is away") from error
        return [(position.decode(), fields[b"e"]) for position, fields in found if b"e" in fields]
