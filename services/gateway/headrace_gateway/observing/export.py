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
from headrace_kit.errors import HeadraceError
from headrace_kit.telemetry.requests import packed

_log = logging.getLogger(__name__)
_EVERY_S = 0.2
_BATCH = 64
_MOST = 10_000
_MOST_CHARS = 32_000_000
_BATCH_BYTES = 2_000_000
_MOST_BYTES = 4_000_000
"""Of one record; what was said is left out of a larger one."""

_RETRY_S = 1.0


class RecordReceiver(Protocol):
    """Makes spans of records."""

    async def take(self, records: Sequence[bytes]) -> int:
        """Hand over packed records; returns when they are safe, with how many of them are no use to it.

        Raises:
            HeadraceError: it is away, or has no room; none was taken.
        """
        ...


class Exporter:
    """Keeps the newest requests until the receiver has them; while it is away the oldest are dropped and counted."""

    def __init__(self, receiver: RecordReceiver, metrics: Metrics, running: Running = HERE) -> None:
        self._receiver, self._metrics, self._running = receiver, metrics, running
        self._waiting: deque[Ended] = deque()
        self._chars = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def record(self, ctx: RequestContext, status: int, error: str) -> None:
        """Take a request that has ended, unless it is not sampled or nobody's."""
        if not ctx.sampled or not ctx.identity.tenant:
            return
        chars = 0 if ctx.content is None else ctx.content.size()
        waiting = self._waiting
        waiting.append(Ended(ctx, status, ctx.wall_ns(), error, chars))
        self._chars += chars
        while len(waiting) > _MOST or (self._chars > _MOST_CHARS and len(waiting) > 1):
            self._chars -= waiting.popleft().chars
            self._metrics.spans_dropped.inc()
        self._wake.set()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Send what is left if that is quick, and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(HeadraceError, TimeoutError):
            await asyncio.wait_for(self.flush(), 2)

    async def flush(self) -> None:
        """Send everything that waits. Raises HeadraceError while the receiver is away."""
        while self._waiting:
            batch, records = self._next()
            if not records:
                continue
            try:
                refused = await self._receiver.take(records)
            except BaseException:
                self._waiting.extendleft(reversed(batch))
                self._chars += sum([ended.chars for ended in batch])
                raise
            if refused:
                _log.error("spans of %d requests were refused: their records are no use to the receiver", refused)
                self._metrics.spans_dropped.inc(refused)

    def _next(self) -> tuple[list[Ended], list[bytes]]:
        """The oldest requests that wait, and their records. One of which none can be made is left out."""
        batch: list[Ended] = []
        records: list[bytes] = []
        size = 0
        while self._waiting and len(batch) < _BATCH and size < _BATCH_BYTES:
            ended = self._waiting.popleft()
            self._chars -= ended.chars
            try:
                raw = self._packed(ended)
            except Exception:  # a defect of ours: the other requests of the batch are told all the same
                _log.exception("a request cannot be recorded", extra={"request_id": ended.ctx.request_id})
                self._metrics.spans_dropped.inc()
                continue
            batch.append(ended)
            records.append(raw)
            size += len(raw)
        return batch, records

    def _packed(self, ended: Ended) -> bytes:
        record = record_of(ended, self._running)
        raw = packed(record)
        if len(raw) > _MOST_BYTES:
            record.said = None
            raw = packed(record)
            if len(raw) > _MOST_BYTES:
                raise ValueError(f"its record has {len(raw)} bytes, more than {_MOST_BYTES}")
        return raw

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
