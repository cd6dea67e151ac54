"""The ledger's parts put together: log, shipper, writer, reconciler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from headrace_gateway.ledger.log import EventLog
from headrace_gateway.ledger.reconcile import closing, find_old_logs
from headrace_gateway.ledger.ship import Shipper, Stream
from headrace_gateway.ledger.writer import Deliveries, LedgerStore, LedgerWriter

_log = logging.getLogger(__name__)


class RecordStore(LedgerStore, Protocol):
    """A ledger store that also tells how far each log is written."""

    async def progress(self, log_ids: list[str]) -> dict[str, int]:
        """The position up to which everything of each log is written. Raises NotReady."""
        ...


class EventStream(Stream, Deliveries, Protocol):
    """Both ends of the stream."""


class Ledger:
    """Accounting of this process. `log` fulfils `Journal`.

    Args:
        root: folder of all logs.
        window_s: longest wait of an event for its group commit.
        connect: the stream between shippers and writers, as this log's id sees it.
        store: where the ledger is.
        backlog: told the number of events that are not written yet.
    """

    def __init__(
        self,
        root: Path,
        window_s: float,
        connect: Callable[[str], EventStream],
        store: RecordStore,
        backlog: Callable[[int], None],
    ) -> None:
        self._root = root
        self.log = EventLog(root, window_s)
        self._stream, self._store, self._backlog = connect(self.log.log_id), store, backlog
        self._writer = LedgerWriter(self._stream, store)
        self._shipper: Shipper | None = None

    async def start(self) -> None:
        """Take over what earlier processes left, and begin. Raises OSError when the folder cannot be used."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self.log.start()
        old = await asyncio.to_thread(find_old_logs, self._root, self.log.log_id)
        for log in old:
            left = await asyncio.to_thread(log.left_open)
            # On disk here before the old log may go.
            await asyncio.gather(*(self.log.append(closing(event)) for event in left))
            if left:
                _log.warning("closed %d attempts that a crash had cut off", len(left), extra={"log_id": log.log_id})
        self._shipper = Shipper(self.log, self.log.grown, old, self._stream, self._store.progress, self._backlog)
        self._shipper.start()
        self._writer.start()

    async def stop(self) -> None:
        """Write and ship what is there; the next process takes over the rest."""
        await self.log.stop()
        if self._shipper is not None:
            await self._shipper.stop()
        await self._writer.stop()
