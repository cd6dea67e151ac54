"""The ledger's parts put together: log, shipper, writer, reconciler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from headrace_gateway.ledger.log import EventLog
from headrace_gateway.ledger.reconcile import Counts, OldLog, closing, find_old_logs, find_usage
from headrace_gateway.ledger.ship import Shipper, Stream
from headrace_gateway.ledger.writer import Deliveries, LedgerStore, LedgerWriter
from headrace_gateway.ports import attempt_name
from headrace_gateway.running import Running
from headrace_kit.config.deployments import Price
from headrace_kit.ending import end
from headrace_kit.errors import NotReady
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.common.v1.event_pb2 import RequestEvent

_log = logging.getLogger(__name__)
_COUNTS_S = 60.0
_AGAIN_S = 0.5
_HERE = Running()


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
        counts: knows what attempts used whose gateway died.
        price: of a deployment by name, as it is now.
        counts_s: longest wait for those counts.
        finished: told of earlier processes all of whose events are written.
        running: what runs here.
    """

    def __init__(
        self,
        root: Path,
        window_s: float,
        connect: Callable[[str], EventStream],
        store: RecordStore,
        backlog: Callable[[int], None],
        counts: Counts,
        price: Callable[[str], Price | None],
        counts_s: float = _COUNTS_S,
        finished: Callable[[list[str]], Awaitable[None]] | None = None,
        running: Running = _HERE,
    ) -> None:
        self._finished = finished
        self._counts, self._price, self._counts_s = counts, price, counts_s
        self._closing: asyncio.Task[None] | None = None
        self._root = root
        self.log = EventLog(root, window_s, running=running)
        self._stream, self._store, self._backlog = connect(self.log.log_id), store, backlog
        self._writer = LedgerWriter(self._stream, store)
        self._shipper: Shipper | None = None

    async def start(self) -> None:
        """Take over what earlier processes left, and begin. Raises OSError when the folder cannot be used."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self.log.start()
        old = await asyncio.to_thread(find_old_logs, self._root, self.log.log_id)
        left = {log: await asyncio.to_thread(log.left_open) for log in old}
        whole = [log for log in old if not left[log]]
        self._shipper = Shipper(
            self.log, self.log.grown, whole, self._stream, self._store.progress, self._backlog, finished=self._finished
        )
        self._shipper.start()
        self._writer.start()
        if len(whole) < len(old):
            # Inference may not be there yet when this starts.
            self._closing = asyncio.create_task(self._close({log: events for log, events in left.items() if events}))

    async def _close(self, left: dict[OldLog, list[RequestEvent]]) -> None:
        """Close what a crash cut off, with what inference counted; then the logs in which it was opened may go."""
        opened = [event for events in left.values() for event in events]
        usage = await find_usage(opened, self._counts, self._counts_s)
        for log, events in left.items():
            while True:
                try:
                    # On disk here before the old log may go.
                    await asyncio.gather(*(self.log.append(self._closed(event, usage)) for event in events))
                    break
                except NotReady:
                    await asyncio.sleep(_AGAIN_S)
            _log.warning(
                "closed %d attempts that a crash had cut off; what %d of them used is known",
                len(events),
                sum(_name(event) in usage for event in events),
                extra={"log_id": log.log_id},
            )
            assert self._shipper is not None
            self._shipper.adopt(log)

    def _closed(self, event: RequestEvent, usage: dict[str, Usage]) -> RequestEvent:
        return closing(event, usage.get(_name(event)), self._price(event.deployment))

    async def stop(self) -> None:
        """Write and ship what is there; the next process takes over the rest."""
        await end(self._closing)
        await self.log.stop()
        if self._shipper is not None:
            await self._shipper.stop()
        await self._writer.stop()


def _name(event: RequestEvent) -> str:
    return attempt_name(event.request_id, event.stage, event.attempt)
