"""The event stream in Valkey, read from a place that the reader keeps."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from headrace_kit.errors import NotReady
from headrace_kit.events import FIELD, STREAM


class ValkeyEvents:
    """Fulfils `Events`.

    No consumer group: the place in the stream is kept in the same transaction as what was made of its events. What
    Valkey loses before it was read is missing; what is shipped again is told by its place in its gateway's log.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def after(self, cursor: str, limit: int) -> list[tuple[str, bytes]]:
        """See `Events`."""
        try:
            found: Any = await self._client.xrange(STREAM, min=f"({cursor}", count=limit)
        except (RedisError, OSError) as error:
            raise NotReady("the event stream is away") from error
        return [(place.decode(), fields.get(FIELD, b"")) for place, fields in found]
