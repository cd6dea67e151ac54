"""Spans on their way to the OTLP receiver, in batches, off the request's path."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Protocol

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace_gateway.context import RequestContext
from headrace_gateway.observing.metrics import Metrics
from headrace_gateway.observing.spans import Record, resource_spans
from headrace_gateway.running import Running
from headrace_kit.errors import HeadraceError

_log = logging.getLogger(__name__)
_EVERY_S = 0.2
_BATCH = 64
_MOST = 10_000
_MOST_CHARS = 32_000_000
_BATCH_CHARS = 2_000_000
_RETRY_S = 1.0

_HERE = Running()


class SpanReceiver(Protocol):
    """An OTLP receiver."""

    async def export(self, request: ExportTraceServiceRequest) -> None:
        """Hand over spans. Raises HeadraceError while it is away."""
        ...


class SpanExporter:
    """Keeps the newest requests until the receiver has them; while it is away the oldest are dropped and counted."""

    def __init__(self, receiver: SpanReceiver, metrics: Metrics, running: Running = _HERE) -> None:
        self._receiver, self._metrics, self._running = receiver, metrics, running
        self._waiting: deque[Record] = deque()
        self._chars = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def record(self, ctx: RequestContext, status: int, error: str) -> None:
        """Take a request that has ended, unless it is not sampled or nobody's."""
        if not ctx.sampled or not ctx.identity.tenant:
            return
        self._waiting.append(Record(ctx, status, ctx.wall_ns(), error))
        self._chars += _chars(ctx)
        while len(self._waiting) > _MOST or (self._chars > _MOST_CHARS and len(self._waiting) > 1):
            self._chars -= _chars(self._waiting.popleft().ctx)
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
            batch = self._next()
            made = resource_spans(batch, self._running, self._metrics.spans_dropped.inc)
            try:
                await self._receiver.export(ExportTraceServiceRequest(resource_spans=[made]))
            except BaseException:
                self._waiting.extendleft(reversed(batch))
                self._chars += sum(_chars(record.ctx) for record in batch)
                raise

    def _next(self) -> list[Record]:
        batch: list[Record] = []
        chars = 0
        while self._waiting and len(batch) < _BATCH and chars < _BATCH_CHARS:
            batch.append(self._waiting.popleft())
            chars += _chars(batch[-1].ctx)
        self._chars -= chars
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
                    _log.warning("spans cannot be sent: %s", error.code)
                away = True
                self._wake.set()
                await asyncio.sleep(_RETRY_S)


def _chars(ctx: RequestContext) -> int:
    """About how much of a request's content is held: input, answer and passages."""
    content = ctx.content
    if content is None:
        return 0
    said = sum(message.ByteSize() for message in content.messages) + len(content.prompt)
    return said + content.chars + sum(len(passage.text) for passage in content.passages)
