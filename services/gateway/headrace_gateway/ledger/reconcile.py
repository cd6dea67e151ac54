"""What earlier processes left behind: their logs are shipped to the end, and what they left open is closed."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from headrace_gateway.ledger.frames import parse
from headrace_gateway.ledger.segments import Segments
from headrace_protos.common.v1.event_pb2 import RequestEvent

_log = logging.getLogger(__name__)
CRASHED = "gateway_crashed"
"""Error code of an attempt whose gateway died: its usage is unknown, at most `reserved_output_tokens`."""


class OldLog:
    """The log of a process that is gone."""

    def __init__(self, segments: Segments) -> None:
        self.segments = segments
        self.durable = segments.last()

    @property
    def log_id(self) -> str:
        """Name of the log."""
        return self.segments.log_id

    async def read(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` events behind position `after`."""
        return await asyncio.to_thread(self.segments.read, after, limit)

    async def discard(self, upto: int) -> None:
        """Delete what is no longer needed; all of it once `upto` is its end."""
        if upto >= self.durable:
            await asyncio.to_thread(self.segments.delete)
        else:
            await asyncio.to_thread(self.segments.discard, upto)

    def left_open(self) -> list[RequestEvent]:
        """Opened events without their closed one."""
        opened: dict[tuple[str, int, int], RequestEvent] = {}
        after = 0
        while batch := self.segments.read(after, 4096):
            for position, payload in batch:
                after = position
                event = parse(payload)
                if event is None:
                    continue
                attempt = (event.request_id, event.stage, event.attempt)
                if event.kind == RequestEvent.KIND_OPENED:
                    opened[attempt] = event
                else:
                    opened.pop(attempt, None)
        return list(opened.values())


def find_old_logs(root: Path, own: str) -> list[OldLog]:
    """The logs under `root` that no living process has, oldest first; they are this process's now."""
    found = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name != own):
        segments = Segments(folder)
        if segments.own():
            found.append(OldLog(segments))
    return found


def closing(opened: RequestEvent) -> RequestEvent:
    """The closed event of an attempt that a crash cut off."""
    event = RequestEvent()
    event.CopyFrom(opened)
    event.kind = RequestEvent.KIND_CLOSED
    event.error_code = CRASHED
    event.ended_us = event.started_us
    return event
