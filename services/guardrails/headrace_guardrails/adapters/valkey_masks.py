"""Sealed conversations in Valkey."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.exceptions import RedisError

from headrace_kit.errors import NotReady

_PREFIX = b"guardrails:masks:"


class ValkeyMasks:
    """Fulfils `MaskStore`."""

    def __init__(self, valkey: Redis) -> None:
        self._valkey = valkey

    async def get(self, key: bytes) -> bytes | None:
        """See `MaskStore`."""
        try:
            found = await self._valkey.get(_PREFIX + key)
        except (RedisError, OSError) as error:
            raise NotReady("the store of conversations cannot be reached; try again shortly") from error
        return found.encode() if isinstance(found, str) else found

    async def put(self, key: bytes, sealed: bytes, ttl_s: float) -> None:
        """See `MaskStore`."""
        try:
            await self._valkey.set(_PREFIX + key, sealed, px=round(ttl_s * 1000))
        except (RedisError, OSError) as error:
            raise NotReady("the store of conversations cannot be reached; try again shortly") from error
