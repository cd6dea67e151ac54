"""Records of requests on their way to whoever makes spans of them, in batches, off the request's path."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from headrace_gateway.context import RequestContext
from headrace_gateway.observing.metrics import Metrics
from headrace_gateway.observing.records import HERE, Ended, record_of
from headrace_gateway.running import Running
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError
from headrace_kit.telemetry.requests import packed

_log = logging.getLogger(__name__)
_EVERY_S = 1.0
"""A call costs as much CPU as 200 more records in it, and two to three times that after a pause: fewer are cheaper."""

_BATCH_BYTES = 2_000_000
_MOST = 10_000
_MOST_BYTES = 32_000_000
_MOST_OF_ONE = 4_000_000
"""Bytes of one record; what was said is left out of a larger one."""

_RETRY_S = 1.0


class RecordReceiver(Protocol):
    """Makes spans of records, of at most `at_once` in a call."""

    at_once: int

    async def take(self, records: Sequence[bytes]) -> int:
        """Hand over packed records; returns when they are safe, with how many of them are no use to it.

        Raises:
            HeadraceError: it is away, or has no room; none was taken.
        """
        ...


class Exporter:
    """Keeps the newest records until the receiver has them; while it is away the oldest are dropped and counted.

    A request becomes a record in the event loop's next turn: its answer goes out first, and what waits for the receiver
    is bytes. Requests that wait would cost each later one its warm memory.
    """

    def __init__(self, receiver: RecordReceiver, metrics: Metrics, running: Running = HERE) -> None:
        self._receiver, self._metrics, self._running = receiver, metrics, running
        self._ended: list[Ended] = []
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def record(self, ctx: RequestContext, status: int, error: str) -> None:
        """Take a request that has ended, unless it is not sampled or nobody's."""
        if not ctx.sampled or not ctx.identity.tenant:
            return
        self._ended.append(Ended(ctx, status, ctx.wall_ns(), error))
        if len(self._ended) == 1:
            asyncio.get_running_loop().call_soon(self._pack)

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Send what is left if that is quick, and end."""
        await end(self._task)
        with contextlib.suppress(HeadraceError, TimeoutError):
            await asyncio.wait_for(self.flush(), 2)

    async def flush(self) -> None:
        """Send everything that waits. Raises HeadraceError while the receiver is away."""
        self._pack()
        while self._waiting:
            batch = self._next()
            try:
                refused = await self._receiver.take(batch)
            except BaseException:
                self._waiting.extendleft(reversed(batch))
                self._bytes += sum(map(len, batch))
                raise
            if refused:
                _log.error("spans of %d requests were refused: their records are no use to the receiver", refused)
                self._metrics.spans_dropped.inc(refused)

    def _pack(self) -> None:
        """Make records of the requests that have ended. One of which none can be made is left out."""
        ended, self._ended = self._ended, []
        for one in ended:
            try:
                raw = self._packed(one)
            except Exception:  # a defect of ours: the other requests are told all the same
                _log.exception("a request cannot be recorded", extra={"request_id": one.ctx.request_id})
                self._metrics.spans_dropped.inc()
                continue
            self._waiting.append(raw)
            self._bytes += len(raw)
        while len(self._waiting) > _MOST or self._bytes > _MOST_BYTES:
            self._bytes -= len(self._waiting.popleft())
            self._metrics.spans_dropped.inc()
        if self._waiting:
            self._wake.set()

    def _packed(self, ended: Ended) -> bytes:
        record = record_of(ended, self._running)
        raw = packed(record)
        if len(raw) > _MOST_OF_ONE:
            record.said = None
            raw = packed(record)
            if len(raw) > _MOST_OF_ONE:
                raise ValueError(f"its record has {len(raw)} bytes, more than {_MOST_OF_ONE}")
        return raw

    def _next(self) -> list[bytes]:
        batch: list[bytes] = []
        size, most = 0, self._receiver.at_once
        while self._waiting and len(batch) < most and size < _BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += len(batch[-1])
        self._bytes -= size
        return batch

    async def _run(self) -> None:
        away = False
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(_EVERY_S)
            try:
                await self.flush()
                away = False
            except HeadraceError as error:
                if not away:
                    _log.warning("requests wait to be traced: %s", error.message)
                away = True
                self._wake.set()
                await asyncio.sleep(_RETRY_S)
            except Exception:  # a defect of ours: it is seen, and records are still sent once it is mended
                _log.exception("records of requests cannot be sent")
                self._wake.set()
                await asyncio.sleep(_RETRY_S)
