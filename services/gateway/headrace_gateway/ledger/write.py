"""From the stream to the table."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from headrace_gateway.ledger.ports import EventStream, LedgerStore
from headrace_kit.errors import NotReady
from headrace_protos.common.v1.event_pb2 import RequestEvent

_log = logging.getLogger(__name__)
BATCH = 500
IDLE_S = 2.0
RETRY_S = 0.5


class Writer:
    """Runs in every gateway; the store lets one of them write at a time."""

    def __init__(self, stream: EventStream, store: LedgerStore) -> None:
        self._stream, self._store = stream, store
        self.written = 0

    async def run(self, shipped: asyncio.Event) -> None:
        """Write until cancelled: at once when `shipped` is set, and now and then for gateways that died."""
        while True:
            try:
                while await self.step():
                    pass
            except NotReady:
                await asyncio.sleep(RETRY_S)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(shipped.wait(), IDLE_S)
            shipped.clear()

    async def step(self) -> int:
        """Write one batch; returns how many events it had. Raises NotReady while a store is away."""
        count = await self._store.write(self._fetch)
        self.written += count
        return count

    async def _fetch(self, position: str) -> tuple[str, list[RequestEvent]]:
        entries = await self._stream.read(position, BATCH)
        events = []
        for _, data in entries:
            try:
                events.append(RequestEvent.FromString(data))
            except Exception:  # protobuf's DecodeError has several homes; whatever it is, it is not an event
                _log.error("dropped an entry of the stream that is not an event")
        return (entries[-1][0] if entries else position), events
