"""Claims of idempotency keys in Valkey."""

from __future__ import annotations

import math
from collections.abc import Awaitable
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from headrace_kit.errors import NotReady

T = TypeVar("T")

_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
"""
# A claim that lapsed while its answer was made is as good as ours while nobody else has taken it.
_KEEP = """
local value = redis.call('GET', KEYS[1])
if not value or value == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('UNLINK', KEYS[1]) end
"""


class ValkeyClaims:
    """Fulfils `Claims`.

    Args:
        client: the connection; its timeouts bound how long a request waits.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._renew = client.register_script(_RENEW)
        self._keep = client.register_script(_KEEP)
        self._release = client.register_script(_RELEASE)

    async def claim(self, name: str, mark: bytes, lease_s: float) -> bytes | None:
        """See `Claims`."""
        command = self._client.set(_key(name), mark, nx=True, get=True, px=_ms(lease_s))
        found: bytes | None = await _asked(command)
        return found

    async def renew(self, name: str, mark: bytes, lease_s: float) -> None:
        """See `Claims`."""
        await _asked(self._renew(keys=[_key(name)], args=[mark, _ms(lease_s)]))

    async def keep(self, name: str, mark: bytes, value: bytes, ttl_s: float) -> None:
        """See `Claims`."""
        await _asked(self._keep(keys=[_key(name)], args=[mark, value, _ms(ttl_s)]))

    async def release(self, name: str, mark: bytes) -> None:
        """See `Claims`."""
        await _asked(self._release(keys=[_key(name)], args=[mark]))


async def _asked(command: Awaitable[Any]) -> Any:
    try:
        return await command
    except (RedisError, OSError) as error:
        raise NotReady("the store of idempotency keys cannot be reached") from error


def _key(name: str) -> str:
    return f"headrace:once:{name}"


def _ms(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))
