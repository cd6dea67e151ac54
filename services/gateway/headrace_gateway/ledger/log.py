"""The gateway's own event log: appended to in memory, written and synced in groups by a thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uuid_utils

from headrace_gateway.ledger.frames import frame
from headrace_gateway.ledger.segments import Segments, sync_folder
from headrace_kit.errors import NotReady
from headrace_protos.common.v1.event_pb2 import RequestEvent

_log = logging.getLogger(__name__)
SEGMENT_BYTES = 8 * 1024 * 1024
_TAIL = 8192
_MOST_A_GROUP = 1024
_RETRY_S = 0.5

Waiter = asyncio.Future[None]


class EventLog:
    """This process's log; fulfils `Journal`. Positions begin at 1 and grow by one.

    Args:
        root: folder of all logs; this one's folder is made in it.
        window_s: longest wait of a closed event for company; an opened event is written at once.
        segment_bytes: size at which a new segment begins.
    """

    def __init__(self, root: Path, window_s: float, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.segments = Segments(root / str(uuid_utils.uuid7()))
        self.durable = 0
        self.grown = asyncio.Event()
        self._window_s = window_s
        self._segment_bytes = segment_bytes
        self._pending: deque[tuple[RequestEvent, Waiter | None]] = deque()
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._tail: deque[tuple[int, bytes]] = deque(maxlen=_TAIL)
        self._open: dict[tuple[str, int, int], int] = {}
        self._executor = ThreadPoolExecutor(1, "event-log")
        self._file: int | None = None
        self._size = 0
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.problem = ""

    @property
    def log_id(self) -> str:
        """Name of this log."""
        return self.segments.log_id

    async def start(self) -> None:
        """Begin to write. Raises OSError when the folder cannot be made."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, self.segments.own)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what is pending and close."""
        self._closing = True
        self._wake.set()
        self._hurry.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._task, 5)
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._executor.shutdown()
        self.segments.release()

    async def opened(self, event: RequestEvent) -> None:
        """Log the start of an attempt; returns when it is on disk. Raises NotReady when it cannot be written."""
        await self.append(event)

    async def append(self, event: RequestEvent) -> None:
        """Log an event at once; returns when it is on disk. Raises as `opened`."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._pending.append((event, waiter))
        self._hurry.set()
        self._wake.set()
        await waiter

    def closed(self, event: RequestEvent) -> None:
        """Log the end of an attempt."""
        self._pending.append((event, None))
        self._wake.set()

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

    async def _run(self) -> None:
        while not (self._closing and not self._pending):
            await self._wake.wait()
            if not self._hurry.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), self._window_s)
            self._wake.clear()
            self._hurry.clear()
            while self._pending:
                group = [self._pending.popleft() for _ in range(min(len(self._pending), _MOST_A_GROUP))]
                if not await self._commit(group):
                    break

    async def _commit(self, group: list[tuple[RequestEvent, Waiter | None]]) -> bool:
        """Write a group. When that fails, its opened events are refused and its closed ones wait for the next try."""
        group = [(event, waiter) for event, waiter in group if waiter is None or not waiter.done()]
        if not group:
            return True
        written = []
        for place, (event, _) in enumerate(group):
            event.log_id, event.sequence = self.log_id, self.durable + 1 + place
            # Who closes an attempt after a crash does not pay for it.
            event.budget_holder = event.budget_holder or self.log_id
            written.append((event.sequence, event.SerializeToString()))
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._executor, self._write, written[0][0], b"".join([frame(payload) for _, payload in written])
            )
        except OSError as error:
            self._refuse(group, error)
            await asyncio.sleep(_RETRY_S)
            return bool(self._closing)
        self.problem = ""
        self._tail.extend(written)
        self.durable = written[-1][0]
        self.grown.set()
        for event, waiter in group:
            attempt = (event.request_id, event.stage, event.attempt)
            if event.kind == RequestEvent.KIND_OPENED:
                self._open[attempt] = event.sequence
            else:
                self._open.pop(attempt, None)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        return True

    def _refuse(self, group: list[tuple[RequestEvent, Waiter | None]], error: OSError) -> None:
        if not self.problem:
            _log.error("the event log cannot be written: %s", error.strerror)
        self.problem = f"the event log cannot be written: {error.strerror}"
        for event, waiter in reversed(group):
            if waiter is None:
                self._pending.appendleft((event, None))
            elif not waiter.done():
                waiter.set_exception(NotReady("the gateway cannot account for requests now", retry_after_s=1))
        self._wake.set()

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
