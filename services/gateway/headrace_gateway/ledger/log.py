"""The gateway's own event log: appended to in memory, written and synced in groups by a thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections import deque
from pathlib import Path
from queue import SimpleQueue

import uuid_utils

from headrace_gateway.ledger.frames import frame
from headrace_gateway.ledger.segments import Segments, sync_folder
from headrace_gateway.running import Running
from headrace_kit.errors import NotReady
from headrace_protos.common.v1.event_pb2 import RequestEvent

_log = logging.getLogger(__name__)
SEGMENT_BYTES = 8 * 1024 * 1024
_TAIL = 8192
_MOST_A_GROUP = 1024
_RETRY_S = 0.5
_HERE = Running()
_STOP_S = 5.0

Waiter = asyncio.Future[None]
Group = list[tuple[RequestEvent, Waiter | None]]


class EventLog:
    """This process's log; fulfils `Journal`. Positions begin at 1 and grow by one.

    One group at a time is on its way to the disk; what comes meanwhile is the next one. All state belongs to the event
    loop; the thread knows only the file.

    Args:
        root: folder of all logs; this one's folder is made in it.
        window_s: longest wait of a closed event for company; an opened event is written at once.
        segment_bytes: size at which a new segment begins.
        running: what runs here; each event says so.
    """

    def __init__(
        self, root: Path, window_s: float, segment_bytes: int = SEGMENT_BYTES, running: Running = _HERE
    ) -> None:
        self._running = running
        self.segments = Segments(root / str(uuid_utils.uuid7()))
        self.log_id = self.segments.log_id
        """Name of this log."""
        self.durable = 0
        self.grown = asyncio.Event()
        self._window_s = window_s
        self._segment_bytes = segment_bytes
        self._pending: deque[tuple[RequestEvent, Waiter | None]] = deque()
        self._waiting = 0
        """How many of them somebody waits for."""
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._tail: deque[tuple[int, bytes]] = deque(maxlen=_TAIL)
        self._open: dict[tuple[str, int, int], int] = {}
        self._groups: SimpleQueue[tuple[Group, list[tuple[int, bytes]]] | None] = SimpleQueue()
        self._file: int | None = None
        self._size = 0
        self._thread: threading.Thread | None = None
        self._idle = asyncio.Event()
        self.problem = ""

    async def start(self) -> None:
        """Begin to write. Raises OSError when the folder cannot be made."""
        await asyncio.to_thread(self.segments.own)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write_always, name="event-log", daemon=True)
        self._thread.start()
        self._flush()

    async def stop(self) -> None:
        """Write what is pending and close."""
        self._window_s = 0.0
        self._idle.clear()
        self._flush()
        if self._writing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    await self._idle.wait()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._groups.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self.segments.release()

    async def opened(self, event: RequestEvent) -> None:
        """Log the start of an attempt; returns when it is on disk. Raises NotReady when it cannot be written."""
        await self.append(event)

    async def append(self, event: RequestEvent) -> None:
        """Log an event at once; returns when it is on disk. Raises as `opened`."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._pending.append((event, waiter))
        self._waiting += 1
        self._flush()
        await waiter

    def closed(self, event: RequestEvent) -> None:
        """Log the end of an attempt."""
        self._pending.append((event, None))
        self._plan()

    async def read(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` durable events behind position `after`: from memory, or from disk for older ones."""
        if self._tail and self._tail[0][0] <= after + 1:
            skip = after + 1 - self._tail[0][0]
            return [self._tail[place] for place in range(skip, min(len(self._tail), skip + limit))]
        return await asyncio.to_thread(self.segments.read, after, limit)

    async def discard(self, upto: int) -> None:
        """Delete segments up to a position, but keep the opened events of attempts that still run."""
        upto = min([upto, *(position - 1 for position in self._open.values())])
        await asyncio.to_thread(self.segments.discard, upto)

    def _plan(self) -> None:
        """Write what is pending within the window."""
        if self._timer is None and not self._writing and self._thread is not None:
            self._timer = self._loop.call_later(self._window_s, self._flush)

    def _flush(self) -> None:
        """Hand the next group to the thread, unless it still has one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing or not self._pending or self._thread is None:
            return
        group: Group = []
        encoded: list[tuple[int, bytes]] = []
        position = self.durable
        while self._pending and len(group) < _MOST_A_GROUP:
            event, waiter = self._pending.popleft()
            if waiter is not None:
                self._waiting -= 1
                if waiter.done():  # whoever waited has gone
                    continue
            position += 1
            event.log_id, event.sequence = self.log_id, position
            event.track, event.release = self._running.track, self._running.release
            # Who closes an attempt after a crash does not pay for it.
            event.budget_holder = event.budget_holder or self.log_id
            group.append((event, waiter))
            encoded.append((position, event.SerializeToString()))
        if group:
            self._writing = True
            self._groups.put((group, encoded))

    def _written(self, group: Group, encoded: list[tuple[int, bytes]], error: OSError | None) -> None:
        """The thread is done with a group. Where it failed, its opened events are refused and its closed ones wait for
        the next try."""
        if error is not None:
            self._refuse(group, error)
            self._loop.call_later(_RETRY_S, self._next)
            return
        self.problem = ""
        self._tail.extend(encoded)
        self.durable = encoded[-1][0]
        self.grown.set()
        for event, waiter in group:
            attempt = (event.request_id, event.stage, event.attempt)
            if event.kind == RequestEvent.KIND_OPENED:
                self._open[attempt] = event.sequence
            elif event.kind == RequestEvent.KIND_CLOSED:
                self._open.pop(attempt, None)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        self._next()

    def _next(self) -> None:
        self._writing = False
        if self._waiting or not self._window_s:
            self._flush()
        elif self._pending:
            self._plan()
        if not self._writing and not self._pending:
            self._idle.set()

    def _refuse(self, group: Group, error: OSError) -> None:
        if not self.problem:
            _log.error("the event log cannot be written: %s", error.strerror)
        self.problem = f"the event log cannot be written: {error.strerror}"
        for event, waiter in reversed(group):
            if waiter is None:
                self._pending.appendleft((event, None))
            elif not waiter.done():
                waiter.set_exception(NotReady("the gateway cannot account for requests now", retry_after_s=1))

    def _write_always(self) -> None:
        """On the log's thread."""
        while (work := self._groups.get()) is not None:
            group, encoded = work
            failed = None
            try:
                self._write(encoded[0][0], b"".join([frame(payload) for _, payload in encoded]))
            except OSError as error:
                failed = error
            with contextlib.suppress(RuntimeError):  # the loop was closed before all was written
                self._loop.call_soon_threadsafe(self._written, group, encoded, failed)

    def _write(self, first: int, data: bytes) -> None:
        """On the log's thread: append to the segment, or begin one, and sync. A failed write leaves no trace."""
        if self._file is not None and self._size >= self._segment_bytes:
            os.close(self._file)
            self._file = None
        if self._file is None:
            self._file = os.open(self.segments.path(first), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._size = os.fstat(self._file).st_size
            sync_folder(self.segments.folder)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)
