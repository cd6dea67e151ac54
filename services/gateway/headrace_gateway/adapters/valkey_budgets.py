"""Leases of budgets in Valkey: one hash, one field a budget and period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import uuid_utils
from redis.asyncio import Redis
from redis.exceptions import RedisError

from headrace_gateway.budgets.ports import Ask, Grant, Holder, Unknown
from headrace_kit.errors import NotReady

_KEY = "headrace:budgets"
_AWAY = "the store that replicas share it through is away"

# A field is `base` and entries `name:sequence:spent:granted`, in nano-dollars, exact up to 2^53 (nine million dollars).
# `granted` is `?` for a replica that was there before the store lost its memory and has not told its slice yet.
# The field `era` names the time since nothing was known; a server that was restarted or replaced may have lost its last
# writes, so whatever it still has is dropped, and built again from what replicas and the ledger say.
_COMMON = """
local function alive()
  local found, info = pcall(redis.call, 'INFO', 'server')
  local run = found and string.match(info, 'run_id:(%x+)') or 'unknown'
  local era, of = redis.call('HGET', KEYS[1], 'era'), redis.call('HGET', KEYS[1], 'run')
  if era and of == run then return era end
  return nil, run
end
local function read(text)
  local base, rest = string.match(text, '^(%d+)(.*)$')
  local entries, order = {}, {}
  for name, sequence, spent, granted in string.gmatch(rest, ' ([^: ]+):(%d+):(%d+):([%d?]+)') do
    entries[name] = {tonumber(sequence), tonumber(spent), tonumber(granted)}
    order[#order + 1] = name
  end
  return tonumber(base), entries, order
end
local function write(base, entries, order)
  local parts = {string.format('%.0f', base)}
  for _, name in ipairs(order) do
    local e = entries[name]
    if e then
      parts[#parts + 1] = string.format('%s:%.0f:%.0f:%s', name, e[1], e[2],
        e[3] and string.format('%.0f', e[3]) or '?')
    end
  end
  return table.concat(parts, ' ')
end
"""

# A field `short` and its name says which replica waits for more than there is.
# ARGV: new era, name, name before, limit, holder, sequence, spent, granted, wanted, known era, least
_LEASE = (
    _COMMON
    + """
local era, run = alive()
if not era then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'era', ARGV[1], 'run', run)
  era = ARGV[1]
end
local text = redis.call('HGET', KEYS[1], ARGV[2])
if not text then
  local past = redis.call('HGET', KEYS[1], ARGV[3])
  if not past or string.find(past, '?', 1, true) then return {'unknown', era} end
  text = '0'
end
-- What was sent before the store lost its memory says too little; an entry of such a time must be told anew.
if ARGV[10] ~= era and not (ARGV[10] == '' and not string.find(text, ' ' .. ARGV[5] .. ':', 1, true)) then
  return {'unknown', era}
end
local base, entries, order = read(text)
local holder, sequence = ARGV[5], tonumber(ARGV[6])
local spent, granted, wanted = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local mine = entries[holder]
if not mine then
  mine = {0, 0, 0}
  entries[holder] = mine
  order[#order + 1] = holder
end
if sequence > mine[1] then
  mine[1], mine[2] = sequence, math.max(mine[2], spent)
  mine[3] = math.max(granted, mine[2])
end
local settled, taken, open = base, base, true
for _, name in ipairs(order) do
  local e = entries[name]
  settled = settled + e[2]
  if not e[3] then open = false end
  taken = taken + math.max(e[2], e[3] or 0)
end
local room = tonumber(ARGV[4]) - taken
local short = redis.call('HGET', KEYS[1], 'short ' .. ARGV[2])
if open and sequence == mine[1] then
  local more = math.max(0, math.min(wanted - mine[3], room))
  if mine[3] + more < tonumber(ARGV[11]) then
    more = 0
    short = holder
    redis.call('HSET', KEYS[1], 'short ' .. ARGV[2], holder)
  elseif short == holder then
    short = false
    redis.call('HDEL', KEYS[1], 'short ' .. ARGV[2])
  end
  mine[3] = mine[3] + more
  room = room - more
end
if (not open or (short and short ~= holder)) and room > 0 then room = 0 end
redis.call('HSET', KEYS[1], ARGV[2], write(base, entries, order))
return {'ok', string.format('%.0f', mine[3] or 0), string.format('%.0f', settled), string.format('%.0f', room),
  write(base, entries, order), era}
"""
)

# ARGV: era, name, text
_BEGIN = (
    _COMMON
    + """
if alive() == ARGV[1] then redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3]) end
"""
)

# ARGV: name, holder, sequence, spent, finished
_CLOSE = (
    _COMMON
    + """
local text = redis.call('HGET', KEYS[1], ARGV[1])
if not text then return end
local base, entries, order = read(text)
local e = entries[ARGV[2]]
if not e or e[1] ~= tonumber(ARGV[3]) then return end
e[2] = math.max(e[2], tonumber(ARGV[4]))
e[3] = e[2]
if redis.call('HGET', KEYS[1], 'short ' .. ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], 'short ' .. ARGV[1]) end
if ARGV[5] == '1' then
  base = base + e[2]
  entries[ARGV[2]] = nil
end
redis.call('HSET', KEYS[1], ARGV[1], write(base, entries, order))
"""
)


class ValkeyLeases:
    """Fulfils `LeaseStore`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        scripts = (_LEASE, _BEGIN, _CLOSE, _COMMON + "\nreturn (alive())\n")
        self._lease, self._begin, self._close, self._era = map(client.register_script, scripts)

    async def lease(self, ask: Ask) -> Grant | Unknown:
        """See `LeaseStore`."""
        values = (
            ask.name, ask.before, ask.limit, ask.holder, ask.sequence, ask.spent, ask.granted, ask.wanted,
            ask.era, ask.least,
        )  # fmt: skip
        try:
            answer: Any = await self._lease(keys=[_KEY], args=[str(uuid_utils.uuid7()), *values])
        except (RedisError, OSError) as error:
            raise NotReady(_AWAY, retry_after_s=1) from error
        if answer[0] == b"unknown":
            return Unknown(answer[1].decode())
        _, granted, settled, room, text, era = answer
        return Grant(int(granted), int(settled), int(room), _holders(text.decode()), era.decode())

    async def begin(self, name: str, era: str, spent: int, holders: Mapping[str, int]) -> None:
        """See `LeaseStore`."""
        text = " ".join([str(spent), *(f"{holder}:0:{least}:?" for holder, least in holders.items())])
        try:
            await self._begin(keys=[_KEY], args=[era, name, text])
        except (RedisError, OSError) as error:
            raise NotReady(_AWAY, retry_after_s=1) from error

    async def close(self, name: str, holder: str, sequence: int, spent: int, *, finished: bool) -> None:
        """See `LeaseStore`."""
        try:
            await self._close(keys=[_KEY], args=[name, holder, sequence, spent, int(finished)])
        except (RedisError, OSError) as error:
            raise NotReady(_AWAY, retry_after_s=1) from error

    async def era(self) -> str:
        """See `LeaseStore`."""
        try:
            answer: Any = await self._era(keys=[_KEY])
        except (RedisError, OSError) as error:
            raise NotReady(_AWAY, retry_after_s=1) from error
        return answer.decode() if answer else ""

    async def drop(self, names: Sequence[str]) -> None:
        """See `LeaseStore`."""
        try:
            await self._client.hdel(_KEY, *names, *(f"short {name}" for name in names))
        except (RedisError, OSError) as error:
            raise NotReady(_AWAY, retry_after_s=1) from error


def _holders(text: str) -> list[Holder]:
    found = []
    for entry in text.split(" ")[1:]:
        name, sequence, spent, granted = entry.split(":")
        found.append(Holder(name, int(sequence), int(spent), None if granted == "?" else int(granted)))
    return found
