"""Spans to other systems too, redacted as they are stored; nobody here ever waits for one of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from headrace_kit.ending import end
from headrace_tracing.domain.spans import Span
from headrace_tracing.metrics import Metrics

_log = logging.getLogger(__name__)


class Unwanted(Exception):
    """The receiver does not take it, now or later; the message says why."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who gets spans.

    Attributes:
        name: for metrics and logs; its host.
        tenants: those whose spans it gets; empty: all.
        send: gives it a batch. Raises `Unwanted`, or OSError where another try may go better.
    """

    name: str
    tenants: frozenset[str]
    send: Callable[[Sequence[Span]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ForwardLimits:
    """Spans that wait for each receiver, spans of one batch, and seconds between tries, which double."""

    waiting: int = 20_000
    batch: int = 1_000
    retry_least_s: float = 0.5
    retry_most_s: float = 30.0


@dataclass(slots=True, eq=False)
class _Line:
    receiver: Receiver
    queue: deque[Span] = field(default_factory=deque)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing waits, and nothing is on its way."""
    task: asyncio.Task[None] | None = None
    away: bool = False


class Forwarder:
    """A line for each receiver; what does not fit is dropped and counted, the oldest first. For one event loop."""

    def __init__(
        self, receivers: Sequence[Receiver], metrics: Metrics, limits: ForwardLimits = ForwardLimits()
    ) -> None:
        self._lines = [_Line(receiver) for receiver in receivers]
        self._metrics = metrics
        self._limits = limits

    def start(self) -> None:
        """Begin to send."""
        for line in self._lines:
            line.task = asyncio.create_task(self._run(line))

    async def stop(self, within_s: float = 3.0) -> None:
        """Send what waits as long as `within_s` allows, then stop; the rest is dropped and counted."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(line.idle.wait() for line in self._lines if not line.away))
        for line in self._lines:
            await end(line.task)
            self._drop(line, len(line.queue), "stopped")

    def offer(self, spans: Sequence[Span]) -> None:
        """Take spans that were accepted; returns at once."""
        for line in self._lines:
            wanted = line.receiver.tenants
            line.queue.extend(span for span in spans if not wanted or span.tenant in wanted)
            over = len(line.queue) - self._limits.waiting
            if over > 0:
                for _ in range(over):
                    line.queue.popleft()
                self._count(line, over, "full")
            if line.queue:
                line.filled.set()
                line.idle.clear()

    async def _run(self, line: _Line) -> None:
        pause_s = self._limits.retry_least_s
        while True:
            if not line.queue:
                line.idle.set()
            await line.filled.wait()
            batch = [line.queue.popleft() for _ in range(min(len(line.queue), self._limits.batch))]
            if not line.queue:
                line.filled.clear()
            try:
                await line.receiver.send(batch)
            except OSError as error:
                self._set_away(line, str(error))
                # In front again, in their order, as far as there is room by now.
                room = max(0, self._limits.waiting - len(line.queue))
                line.queue.extendleft(reversed(batch[len(batch) - room :] if room < len(batch) else batch))
                self._count(line, max(0, len(batch) - room), "full")
                line.filled.set()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, self._limits.retry_most_s)
                continue
            except Unwanted as error:
                _log.warning("%s takes no spans: %s", line.receiver.name, error)
                self._count(line, len(batch), "unwanted")
            except Exception:
                _log.exception("spans for %s cannot be sent", line.receiver.name)
                self._count(line, len(batch), "failed")
            else:
                self._metrics.spans_forwarded.labels(line.receiver.name).inc(len(batch))
            self._set_away(line, "")
            pause_s = self._limits.retry_least_s

    def _drop(self, line: _Line, spans: int, why: str) -> None:
        line.queue.clear()
        self._count(line, spans, why)

    def _count(self, line: _Line, spans: int, why: str) -> None:
        if spans:
            self._metrics.forward_dropped.labels(line.receiver.name, why).inc(spans)

    def _set_away(self, line: _Line, why: str) -> None:
        if bool(why) != line.away:
            if why:
                _log.warning("%s is away, spans wait for it: %s", line.receiver.name, why)
            else:
                _log.info("%s is back", line.receiver.name)
        line.away = bool(why)
