"""The event stream in Valkey."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from headrace_gateway.ledger.frames import pack
from headrace_kit.errors import NotReady
from headrace_kit.events import FIELD, STREAM

_GROUP = "ledger"
_MOST = 10_000
_BATCH = 16
_BLOCK_MS = 400
_IDLE_MS = 15_000
_CLAIM_S = 5.0
_AWAY = "the event stream is away"


class ValkeyEvents:
    """Both ends of the stream: fulfils `Stream` and `Deliveries`.

    What is trimmed before it was written comes again from the gateway's log.

    Args:
        client: the connection.
        consumer: name of this reader; what one that is gone left unacknowledged, another takes over after 15 s.
    """

    def __init__(self, client: Redis, consumer: str) -> None:
        self._client, self._consumer = client, consumer
        self._ready = False
        self._claim_from = "0-0"
        self._claimed_at = -_CLAIM_S

    async def add(self, events: Sequence[bytes]) -> None:
        """See `Stream`."""
        try:
            await self._client.xadd(STREAM, {FIELD: pack(events)}, maxlen=_MOST, approximate=True)
        except (RedisError, OSError) as error:
            raise NotReady(_AWAY) from error

    async def take(self) -> list[tuple[str, bytes]]:
        """See `Deliveries`."""
        try:
            if not self._ready:
                await self._make_group()
            # Whoever died left its deliveries for 15 s at least: there is no hurry to look for them.
            if time.monotonic() - self._claimed_at >= _CLAIM_S:
                if claimed := await self._claim():
                    return claimed
                self._claimed_at = time.monotonic()
            answer: Any = await self._client.xreadgroup(
                _GROUP, self._consumer, {STREAM: ">"}, count=_BATCH, block=_BLOCK_MS
            )
        except ResponseError as error:
            self._ready = False  # the group went with the data: it is made again
            raise NotReady(_AWAY) from error
        except (RedisError, OSError) as error:
            raise NotReady(_AWAY) from error
        return _entries(answer[0][1]) if answer else []

    async def acknowledge(self, deliveries: Sequence[str]) -> None:
        """See `Deliveries`."""
        try:
            await self._client.xack(STREAM, _GROUP, *deliveries)
        except (RedisError, OSError) as error:
            raise NotReady(_AWAY) from error

    async def _make_group(self) -> None:
        try:
            await self._client.xgroup_create(STREAM, _GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._ready = True

    async def _claim(self) -> list[tuple[str, bytes]]:
        """What was delivered some time ago and never acknowledged, by whomever."""
        answer = await self._client.xautoclaim(
            STREAM, _GROUP, self._consumer, min_idle_time=_IDLE_MS, start_id=self._claim_from, count=_BATCH
        )
        self._claim_from = _text(answer[0])
        return _entries(answer[1])


def _entries(raw: Any) -> list[tuple[str, bytes]]:
    return [(_text(delivery), fields.get(FIELD, b"")) for delivery, fields in raw if fields]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
