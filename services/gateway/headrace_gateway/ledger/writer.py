"""Events into the ledger, each exactly once, whoever delivers them how often and in whatever order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from headrace_gateway.ledger.frames import unpack
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError, NotReady
from headrace_protos.common.v1.event_pb2 import RequestEvent

_log = logging.getLogger(__name__)
_RETRY_S = 1.0

Attempt = tuple[str, int, int]


class Deliveries(Protocol):
    """Events as the stream delivers them: again until they are acknowledged."""

    async def take(self) -> list[tuple[str, bytes]]:
        """The next packets of events (`frames.pack`) with their delivery ids; waits a moment for some.

        Raises NotReady while it is away.
        """
        ...

    async def acknowledge(self, deliveries: Sequence[str]) -> None:
        """These need not come again."""
        ...


class LedgerStore(Protocol):
    """Where the ledger is."""

    async def write(self, rows: Sequence[RequestEvent], positions: dict[str, list[int]]) -> None:
        """In one transaction: write rows and note the positions (by log) that they came from.

        An opened event makes an open row where there is none; a closed one closes it, once; later ones change nothing.
        Raises NotReady while the store is away.
        """
        ...


def rows_of(events: Sequence[RequestEvent]) -> list[RequestEvent]:
    """One event an attempt: the first closed one where there is one, else the opened one."""
    rows: dict[Attempt, RequestEvent] = {}
    for event in events:
        if event.kind not in (RequestEvent.KIND_OPENED, RequestEvent.KIND_CLOSED):
            continue
        attempt = (event.request_id, event.stage, event.attempt)
        known = rows.get(attempt)
        if known is None or (known.kind == RequestEvent.KIND_OPENED and event.kind == RequestEvent.KIND_CLOSED):
            rows[attempt] = event
    return list(rows.values())


class LedgerWriter:
    """Moves events from the stream to the store until it is stopped."""

    def __init__(self, deliveries: Deliveries, store: LedgerStore) -> None:
        self._deliveries, self._store = deliveries, store
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; what was not acknowledged is delivered again, to whichever writer."""
        await end(self._task)

    async def step(self) -> int:
        """Move one batch; returns how many deliveries it was. Raises NotReady while the stream or the store is away."""
        delivered = await self._deliveries.take()
        if not delivered:
            return 0
        events = [event for _, packet in delivered for event in unpack(packet)]
        positions: dict[str, list[int]] = {}
        for event in events:
            positions.setdefault(event.log_id, []).append(event.sequence)
        await self._store.write(rows_of(events), positions)
        await self._deliveries.acknowledge([delivery for delivery, _ in delivered])
        return len(delivered)

    async def _run(self) -> None:
        while True:
            try:
                await self.step()
            except NotReady:
                await asyncio.sleep(_RETRY_S)
            except HeadraceError as error:
                _log.error("the ledger cannot be written: %s", error.code)
                await asyncio.sleep(_RETRY_S)
            except Exception:
                _log.exception("the ledger cannot be written")
                await asyncio.sleep(_RETRY_S)
