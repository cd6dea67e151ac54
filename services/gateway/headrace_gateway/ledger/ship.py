"""Events on their way out: from logs to the stream, and again when the stream lost them, until they are written."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_kit.ending import end
from headrace_kit.errors import NotReady

_log = logging.getLogger(__name__)
_BATCH = 512
_CONFIRM_S = 1.0
_RETRY_S = 1.0
_GATHER_S = 0.2
_LOST_S = 10.0


class Source(Protocol):
    """A log to ship. `durable` is its last position on disk."""

    durable: int

    @property
    def log_id(self) -> str:
        """Name of the log."""
        ...

    async def read(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Events behind a position."""
        ...

    async def discard(self, upto: int) -> None:
        """What is up to this position is no longer needed."""
        ...


class Stream(Protocol):
    """The way to the writers."""

    async def add(self, events: Sequence[bytes]) -> None:
        """Append events. Raises NotReady while it is away."""
        ...


@dataclass(slots=True)
class _Position:
    shipped: int = 0
    confirmed: int = 0
    moved_at: float = 0.0


class Shipper:
    """Ships the live log and old ones.

    Args:
        live: this process's log; `grown` is set when it has more.
        grown: see above.
        old: logs of earlier processes; each is deleted when all of it is written.
        stream: where to.
        progress: the last position up to which everything of each log is written.
        finished: told of old logs all of which, and all that was closed on taking them over, is written.
        backlog: told the number of events that are not written yet.
    """

    def __init__(
        self,
        live: Source,
        grown: asyncio.Event,
        old: Sequence[Source],
        stream: Stream,
        progress: Callable[[list[str]], Awaitable[dict[str, int]]],
        backlog: Callable[[int], None],
        lost_s: float = _LOST_S,
        finished: Callable[[list[str]], Awaitable[None]] | None = None,
    ) -> None:
        self._finished, self._gone = finished, dict[str, int]()
        self._live, self._grown, self._stream, self._progress, self._backlog = live, grown, stream, progress, backlog
        self._sources: dict[str, Source] = {source.log_id: source for source in (*old, live)}
        self._positions = {log_id: _Position() for log_id in self._sources}
        self._lost_s = lost_s
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._ship_always()), asyncio.create_task(self._confirm_always())]

    async def stop(self) -> None:
        """Ship what is there if that is quick, and end."""
        with contextlib.suppress(NotReady, TimeoutError):
            await asyncio.wait_for(self.ship(), 2)
        await end(*self._tasks)

    def adopt(self, source: Source) -> None:
        """Ship one more log of an earlier process."""
        self._sources[source.log_id] = source
        self._positions[source.log_id] = _Position()
        self._grown.set()

    async def ship(self) -> None:
        """Send everything that was not sent. Raises NotReady while the stream is away."""
        for log_id, source in list(self._sources.items()):
            position = self._positions[log_id]
            while position.shipped < source.durable:
                batch = await source.read(position.shipped, _BATCH)
                if not batch:
                    break
                await self._stream.add([payload for _, payload in batch])
                position.shipped = batch[-1][0]
                position.moved_at = time.monotonic()

    async def confirm(self) -> None:
        """Learn what is written: forget that, and send again what was lost. Raises NotReady while the store is away."""
        waiting = [log_id for log_id, at in self._positions.items() if at.confirmed < self._sources[log_id].durable]
        waiting += [log_id for log_id in self._sources if log_id not in waiting and log_id != self._live.log_id]
        if not waiting:
            self._backlog(0)
            await self._finish()
            return
        written = await self._progress(waiting)
        now = time.monotonic()
        for log_id in waiting:
            position, source = self._positions[log_id], self._sources[log_id]
            reached = written.get(log_id, 0)
            if reached > position.confirmed:
                position.confirmed, position.moved_at = reached, now
                position.shipped = max(position.shipped, reached)
                await source.discard(reached)
            if log_id != self._live.log_id and reached >= source.durable:
                if not source.durable:
                    await source.discard(0)
                del self._sources[log_id], self._positions[log_id]
                # Whoever took it over had closed its attempts in the live log by now.
                self._gone[log_id] = self._live.durable
            elif position.shipped > position.confirmed and now - position.moved_at > self._lost_s:
                _log.warning("events are sent again from %d on", position.confirmed + 1, extra={"log_id": log_id})
                position.shipped, position.moved_at = position.confirmed, now
                self._grown.set()
        await self._finish()
        self._backlog(sum(s.durable - self._positions[log_id].confirmed for log_id, s in self._sources.items()))

    async def _finish(self) -> None:
        confirmed = self._positions[self._live.log_id].confirmed
        done = [log_id for log_id, position in self._gone.items() if position <= confirmed]
        if done and self._finished is not None:
            await self._finished(done)
        for log_id in done:
            del self._gone[log_id]

    async def _ship_always(self) -> None:
        away = False
        while True:
            try:
                await self.ship()
                away = False
                # Each shipment costs a transaction on its way: those of a moment go together.
                await asyncio.sleep(_GATHER_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5):  # `wait_for` may swallow a cancellation in 3.11
                        await self._grown.wait()
                self._grown.clear()
            except NotReady:
                if not away:
                    _log.warning("the event stream is away; events are kept here")
                away = True
                await asyncio.sleep(_RETRY_S)
            except OSError as error:
                _log.error("the event log cannot be read: %s", error.strerror)
                await asyncio.sleep(_RETRY_S)

    async def _confirm_always(self) -> None:
        while True:
            try:
                await self.confirm()
            except NotReady:
                pass  # asked again; the log keeps everything meanwhile
            except OSError as error:
                _log.error("the event log cannot be cleaned up: %s", error.strerror)
            await asyncio.sleep(_CONFIRM_S)
