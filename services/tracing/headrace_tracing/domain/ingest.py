"""From spans that arrive to spans that are stored: a bounded buffer, a disk behind it, and one writer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from headrace_kit.ending import end
from headrace_kit.errors import NotReady
from headrace_tracing.domain.spans import Span
from headrace_tracing.metrics import Metrics
from headrace_tracing.ports import Kept, NoRoom, Spool, StoreRefused, TraceStore, Unreadable

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """Sizes and times of the buffer.

    `buffer_bytes` counts spans in memory as they arrived, which is about a fifth of what they take there. A batch is
    acknowledged when it is stored; when the store takes longer than `ack_wait_s`, when it is on disk. What processes
    that are gone have left on disk is looked for each `adopt_s`.
    """

    buffer_bytes: int = 24 * 1024 * 1024
    batch_spans: int = 2_000
    ack_wait_s: float = 2
    retry_least_s: float = 0.1
    retry_most_s: float = 2
    adopt_s: float = 30


@dataclass(slots=True, eq=False)
class _Waiting:
    """A batch: in memory, or on disk."""

    count: int
    spans: Sequence[Span] = ()
    size_bytes: int = 0
    kept: Kept | None = None
    stored: bool = False
    refused: bool = False
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """It is stored, or the store is away."""


class Ingest:
    """Takes spans and writes them, in the order of their arrival. Use it on one event loop.

    Acknowledged is what is stored, or on disk while the store is slow or away; it is written when the store is back, by
    this process or by the next. When there is no more room new batches are refused, and exporters keep them and come
    again. What was accepted is only lost when the store refuses a span for what is in it, or the disk loses it; both
    are counted and logged.
    """

    def __init__(
        self, store: TraceStore, spool: Spool, metrics: Metrics, limits: IngestLimits = IngestLimits()
    ) -> None:
        self._store = store
        self._spool = spool
        self._metrics = metrics
        self._limits = limits
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._away = False
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._quiet = asyncio.Event()
        self._look()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def store_away(self) -> bool:
        """Whether the last attempt to write failed."""
        return self._away

    async def start(self) -> None:
        """Begin to write, what was left on disk first."""
        try:
            self._take_over(await asyncio.to_thread(self._spool.open))
        except OSError:
            _log.exception("nothing can be kept on disk: spans are refused while the database is away")
        self._tasks = [asyncio.create_task(self._write_forever()), asyncio.create_task(self._adopt_forever())]

    async def accept(self, spans: Sequence[Span], size_bytes: int) -> None:
        """Take a batch. Returns when it is stored, or safe on disk while the store is slow or away.

        Raises:
            NotReady: there is no room, in memory or on disk; the batch is not promised to be stored.
        """
        if not spans:
            return
        if self._bytes and self._bytes + size_bytes > self._limits.buffer_bytes:
            raise self._full("buffer_full", len(spans))
        waiting = _Waiting(len(spans), spans, size_bytes)
        self._bytes += size_bytes
        self._add([waiting])
        if not self._away:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(waiting.settled.wait(), self._limits.ack_wait_s)
        if not waiting.stored:
            # To its end, also when the sender gives up: what is on disk belongs to the queue.
            await asyncio.shield(asyncio.create_task(self._onto_disk(waiting)))

    async def drain(self) -> None:
        """Return when everything is stored."""
        await self._emptied.wait()

    async def quiet(self) -> None:
        """Return when everything is stored, or on disk while the store is away."""
        await self._quiet.wait()

    async def stop(self) -> None:
        """Stop writing; what is on disk stays there for the next process."""
        await end(*self._tasks)
        await asyncio.to_thread(self._spool.close)

    async def _onto_disk(self, waiting: _Waiting) -> None:
        try:
            kept = await asyncio.to_thread(self._spool.keep, waiting.spans)
        except NoRoom as error:
            if waiting.stored:
                return
            waiting.refused = True
            self._out_of_memory(waiting)
            self._look()
            raise self._full(str(error), waiting.count) from error
        if waiting.stored:
            await asyncio.to_thread(self._spool.drop, kept)
            return
        waiting.kept = kept
        self._out_of_memory(waiting)
        self._on_disk(kept, 1)
        self._look()

    def _full(self, reason: str, spans: int) -> NotReady:
        self._metrics.exports_refused.labels(reason).inc()
        self._metrics.spans_refused.labels(reason).inc(spans)
        return NotReady("there is no room for spans while the database is slow or away; send again", retry_after_s=1)

    async def _write_forever(self) -> None:
        pause_s = self._limits.retry_least_s
        while True:
            await self._filled.wait()
            batch = self._next()
            try:
                await self._write(await self._spans(batch))
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
                await self._settle(batch)
                continue
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._limits.retry_most_s)

    async def _adopt_forever(self) -> None:
        while True:
            await asyncio.sleep(self._limits.adopt_s)
            try:
                self._take_over(await asyncio.to_thread(self._spool.adopt))
            except OSError:
                _log.exception("what other processes left on disk cannot be looked for")

    def _take_over(self, left: Sequence[Kept]) -> None:
        if not left:
            return
        _log.info("spans found on disk", extra={"spans": sum(kept.spans for kept in left)})
        for kept in left:
            self._on_disk(kept, 1)
        self._add(_Waiting(kept.spans, kept=kept) for kept in left)

    def _next(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        spans = 0
        for waiting in self._queue:
            if batch and spans + waiting.count > self._limits.batch_spans:
                break
            batch.append(waiting)
            spans += waiting.count
        return batch

    async def _spans(self, batch: Iterable[_Waiting]) -> list[Span]:
        spans: list[Span] = []
        for waiting in batch:
            if waiting.refused:
                continue
            if waiting.kept is None:
                spans += waiting.spans
                continue
            try:
                spans += await asyncio.to_thread(self._spool.read, waiting.kept)
            except Unreadable as error:
                self._metrics.spans_dropped.labels("unreadable").inc(waiting.count)
                _log.error("spans lost: the disk gave them back damaged", extra={"why": str(error)})
        return spans

    async def _write(self, spans: Sequence[Span]) -> None:
        if not spans:
            return
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

    async def _settle(self, batch: list[_Waiting]) -> None:
        for waiting in batch:
            self._queue.popleft()
            self._metrics.buffered_spans.dec(waiting.count)
            waiting.stored = not waiting.refused
            self._out_of_memory(waiting)
            waiting.settled.set()
            if waiting.kept is not None:
                self._on_disk(waiting.kept, -1)
                await asyncio.to_thread(self._spool.drop, waiting.kept)
        self._look()

    def _add(self, batch: Iterable[_Waiting]) -> None:
        for waiting in batch:
            self._queue.append(waiting)
            self._metrics.buffered_spans.inc(waiting.count)
        self._look()

    def _out_of_memory(self, waiting: _Waiting) -> None:
        self._bytes -= waiting.size_bytes
        waiting.size_bytes, waiting.spans = 0, ()

    def _on_disk(self, kept: Kept, sign: int) -> None:
        self._metrics.disk_spans.inc(sign * kept.spans)
        self._metrics.disk_bytes.inc(sign * kept.size_bytes)

    def _look(self) -> None:
        """Bring the events and the gauge to what the queue is now."""
        self._metrics.buffered_bytes.set(self._bytes)
        for event, on in (
            (self._filled, bool(self._queue)),
            (self._emptied, not self._queue),
            (self._quiet, not self._queue or (self._away and not self._bytes)),
        ):
            if on:
                event.set()
            else:
                event.clear()

    def _set_away(self, away: bool) -> None:
        if away == self._away:
            return
        self._away = away
        _log.warning("the database is away, spans wait on disk" if away else "the database is back")
        if away:
            for waiting in self._queue:
                waiting.settled.set()
        self._look()
