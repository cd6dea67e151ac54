"""From spans that arrive to spans that are stored: a bounded buffer and one writer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace_kit.errors import NotReady
from headrace_tracing.domain.spans import Span
from headrace_tracing.metrics import Metrics
from headrace_tracing.ports import StoreRefused, TraceStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """Sizes and times of the buffer.

    `buffer_bytes` counts spans as they arrived, which is about a fifth of what they take in memory. A batch is
    acknowledged when it is stored; when the store takes longer than `ack_wait_s`, the buffer answers for it.
    """

    buffer_bytes: int = 24 * 1024 * 1024
    batch_spans: int = 2_000
    ack_wait_s: float = 2
    retry_least_s: float = 0.1
    retry_most_s: float = 2


@dataclass(slots=True, eq=False)
class _Waiting:
    spans: Sequence[Span]
    size_bytes: int
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class Ingest:
    """Buffers spans and writes them, in the order of their arrival. Use it on one event loop.

    While the store is away spans wait in the buffer; when that is full, new ones are refused, and exporters keep them
    and come again. What was accepted is only ever lost when the process ends before the store is back, or when the
    store refuses a span for what is in it; both are counted and logged.
    """

    def __init__(self, store: TraceStore, metrics: Metrics, limits: IngestLimits = IngestLimits()) -> None:
        self._store = store
        self._metrics = metrics
        self._limits = limits
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._away = False
        self._writer: asyncio.Task[None] | None = None

    @property
    def store_away(self) -> bool:
        """Whether the last attempt to write failed."""
        return self._away

    async def start(self) -> None:
        """Begin to write."""
        self._writer = asyncio.create_task(self._write_forever())

    async def accept(self, spans: Sequence[Span], size_bytes: int) -> None:
        """Take a batch. Returns when it is stored, or safe in the buffer while the store is slow or away.

        Raises:
            NotReady: the buffer is full; nothing of the batch was taken.
        """
        if not spans:
            return
        if self._bytes and self._bytes + size_bytes > self._limits.buffer_bytes:
            self._metrics.exports_refused.labels("buffer_full").inc()
            raise NotReady("the buffer is full because the database is slow or away; send again", retry_after_s=1)
        waiting = _Waiting(spans, size_bytes)
        self._queue.append(waiting)
        self._bytes += size_bytes
        self._metrics.buffered_spans.inc(len(spans))
        self._metrics.buffered_bytes.set(self._bytes)
        self._filled.set()
        self._emptied.clear()
        if not self._away:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(waiting.settled.wait(), self._limits.ack_wait_s)

    async def drain(self) -> None:
        """Return when the buffer is empty."""
        await self._emptied.wait()

    async def stop(self) -> None:
        """Stop writing; what is still in the buffer is lost, counted and logged."""
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
        lost = sum(len(waiting.spans) for waiting in self._queue)
        if lost:
            self._metrics.spans_dropped.labels("stopped").inc(lost)
            _log.error("spans lost: stopped before the database was back", extra={"spans": lost})

    async def _write_forever(self) -> None:
        pause_s = self._limits.retry_least_s
        while True:
            await self._filled.wait()
            batch = self._next()
            try:
                await self._write([span for waiting in batch for span in waiting.spans])
            except NotReady:
                self._set_away(True)
            except Exception:
                # Not a value of the batch, and not the store's absence: a fault of ours or of the schema. Keeping the
                # spans and saying so loudly lets an operator mend it without a loss.
                _log.exception("spans cannot be written, trying again")
                self._set_away(True)
            else:
                self._set_away(False)
                pause_s = self._limits.retry_least_s
                self._settle(batch)
                continue
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._limits.retry_most_s)

    def _next(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        spans = 0
        for waiting in self._queue:
            if batch and spans + len(waiting.spans) > self._limits.batch_spans:
                break
            batch.append(waiting)
            spans += len(waiting.spans)
        return batch

    async def _write(self, spans: Sequence[Span]) -> None:
        try:
            with self._metrics.store_seconds.time():
                new = await self._store.write(spans)
        except StoreRefused as error:
            if len(spans) == 1:
                self._metrics.spans_dropped.labels("refused_by_store").inc()
                _log.error(
                    "span lost: the database refused it",
                    extra={"span_trace_id": spans[0].trace_id, "span_id": spans[0].span_id, "why": str(error)},
                )
                return
            middle = len(spans) // 2
            await self._write(spans[:middle])
            await self._write(spans[middle:])
        else:
            self._metrics.spans_stored.inc(new)
            self._metrics.spans_duplicate.inc(len(spans) - new)

    def _settle(self, batch: list[_Waiting]) -> None:
        for waiting in batch:
            self._queue.popleft()
            self._bytes -= waiting.size_bytes
            self._metrics.buffered_spans.dec(len(waiting.spans))
            waiting.settled.set()
        self._metrics.buffered_bytes.set(self._bytes)
        if not self._queue:
            self._filled.clear()
            self._emptied.set()

    def _set_away(self, away: bool) -> None:
        if away == self._away:
            return
        self._away = away
        _log.warning("the database is away, spans wait in the buffer" if away else "the database is back")
        if away:
            for waiting in self._queue:
                waiting.settled.set()
