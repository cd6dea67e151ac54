"""Demand of replicas by tenant, in Valkey."""

from __future__ import annotations

from collections.abc import Mapping

from redis.asyncio import Redis
from redis.exceptions import RedisError

from headrace_kit.errors import NotReady

_KEY = "headrace:rates"

# A field is a tenant, its value entries `holder:demand:milliseconds`; what was told more than 5 s ago is forgotten.
# ARGV: holder, then tenant and demand in turns.
_TELL = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {}
for place = 2, #ARGV, 2 do
  local tenant, entries, shown = ARGV[place], {}, {}
  local text = redis.call('HGET', KEYS[1], tenant) or ''
  for holder, demand, at in string.gmatch(text, '([^: ]+):([^: ]+):(%d+)') do
    if holder ~= ARGV[1] and math.abs(now - tonumber(at)) < 5000 then
      entries[#entries + 1] = holder .. ':' .. demand .. ':' .. at
    end
  end
  entries[#entries + 1] = ARGV[1] .. ':' .. ARGV[place + 1] .. ':' .. string.format('%.0f', now)
  redis.call('HSET', KEYS[1], tenant, table.concat(entries, ' '))
  answer[#answer + 1] = table.concat(entries, ' ')
end
redis.call('EXPIRE', KEYS[1], 3600)
return answer
"""


class ValkeyRates:
    """Fulfils `RateStore`."""

    def __init__(self, client: Redis) -> None:
        self._tell = client.register_script(_TELL)

    async def tell(self, holder: str, demand: Mapping[str, float]) -> dict[str, dict[str, float]]:
        """See `RateStore`."""
        told = [value for tenant, weight in demand.items() for value in (tenant, f"{weight:.3f}")]
        try:
            answer: list[bytes] = await self._tell(keys=[_KEY], args=[holder, *told])
        except (RedisError, OSError) as error:
            raise NotReady("the store that replicas share limits through is away") from error
        return dict(zip(demand, map(_entries, answer), strict=True))


def _entries(text: bytes) -> dict[str, float]:
    entries = (entry.split(":") for entry in text.decode().split(" "))
    return {holder: float(weight) for holder, weight, _ in entries}
