"""Answers in Valkey."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from headrace_gateway.cache.ports import Known, Room
from headrace_kit.errors import NotReady

_AWAY = "the cache's store cannot be reached"
_SCOPES = 64
"""Scopes whose questions are kept in this process as well, so that they are not fetched for each request."""

# KEYS: entry, index of the pool by time; with a question also its scope and the scope's version.
# ARGV: payload, ttl in s, now, most entries; with a question also its field, its vector, most questions.
# All keys of a pool share a hash tag, so that they are on one node of a cluster.
_PUT = """
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], KEYS[1])
redis.call('EXPIRE', KEYS[2], ARGV[2])
local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[4])
if over > 0 then
  local old = redis.call('ZPOPMIN', KEYS[2], over)
  for place = 1, #old, 2 do redis.call('UNLINK', old[place]) end
end
if #KEYS > 2 then
  redis.call('HSET', KEYS[3], ARGV[5], ARGV[3] .. ' ' .. ARGV[6])
  local many = redis.call('HLEN', KEYS[3]) - tonumber(ARGV[7])
  if many > 0 then
    local all, times = redis.call('HGETALL', KEYS[3]), {}
    for place = 1, #all, 2 do
      times[#times + 1] = {tonumber(string.match(all[place + 1], '^%S+')), all[place]}
    end
    table.sort(times, function(one, other) return one[1] < other[1] end)
    for place = 1, many do redis.call('HDEL', KEYS[3], times[place][2]) end
  end
  redis.call('INCR', KEYS[4])
  redis.call('EXPIRE', KEYS[3], ARGV[2])
  redis.call('EXPIRE', KEYS[4], ARGV[2] + 86400)
end
"""


class ValkeyCache:
    """Fulfils `CacheStore`.

    Args:
        client: the connection; its timeouts bound how long a request waits.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._put = client.register_script(_PUT)
        self._scopes: OrderedDict[str, tuple[bytes, list[Known]]] = OrderedDict()

    async def get(self, pool: str, exact: str) -> bytes | None:
        """See `CacheStore`."""
        try:
            found = cast(bytes | None, await self._client.get(_key(pool, "a", exact)))
        except (RedisError, OSError) as error:
            raise NotReady(_AWAY) from error
        return found

    async def questions(self, pool: str, scope: str) -> Sequence[Known]:
        """See `CacheStore`."""
        key = _key(pool, "q", scope)
        try:
            version = cast(bytes | None, await self._client.get(_key(pool, "v", scope)))
            if version is None:
                return ()
            known = self._scopes.get(key)
            if known is None or known[0] != version:
                # Read after its version: at worst it is newer, and is read once more.
                raw = cast(dict[bytes, bytes], await self._client.hgetall(key))
                known = version, [Known(field.decode(), _vector(value)) for field, value in raw.items()]
                self._scopes[key] = known
        except (RedisError, OSError) as error:
            raise NotReady(_AWAY) from error
        self._scopes.move_to_end(key)
        while len(self._scopes) > _SCOPES:
            self._scopes.popitem(last=False)
        return known[1]

    async def put(self, pool: str, exact: str, entry: bytes, room: Room, scope: str, vector: bytes) -> None:
        """See `CacheStore`."""
        keys = [_key(pool, "a", exact), _key(pool, "i", "")]
        arguments: list[Any] = [entry, max(1, round(room.ttl_s)), time.time(), room.entries]
        if scope:
            keys += [_key(pool, "q", scope), _key(pool, "v", scope)]
            arguments += [exact, vector, room.questions]
        try:
            await self._put(keys=keys, args=arguments)
        except (RedisError, OSError) as error:
            raise NotReady(_AWAY) from error

    async def forget(self, pool: str, scope: str, exact: str) -> None:
        """See `CacheStore`."""
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                pipeline.hdel(_key(pool, "q", scope), exact)
                pipeline.incr(_key(pool, "v", scope))
                pipeline.expire(_key(pool, "v", scope), 30 * 86_400)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            raise NotReady(_AWAY) from error


def _key(pool: str, kind: str, name: str) -> str:
    return f"headrace:cache:{{{pool}}}:{kind}:{name}"


def _vector(value: bytes) -> bytes:
    return value.partition(b" ")[2]
