"""What earlier processes left behind: their logs are shipped to the end, and what they left open is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headrace_gateway.ledger.frames import parse
from headrace_gateway.ledger.segments import Segments
from headrace_gateway.ports import attempt_name
from headrace_kit.config.deployments import Price
from headrace_kit.errors import HeadraceError
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.common.v1.event_pb2 import RequestEvent

_log = logging.getLogger(__name__)
CRASHED = "gateway_crashed"
"""Error code of an attempt whose gateway died. Its usage is inference's count; where nobody knows it, it is 0 in the
ledger, and was at most `reserved_output_tokens`."""

_ASKED_AT_ONCE = 1000
_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Used:
    """What an attempt used so far, and whether it goes on."""

    usage: Usage
    running: bool


class Counts(Protocol):
    """Those who run engines, and count."""

    async def used(self, attempts: Sequence[str]) -> dict[str, Used]:
        """What is known of attempts, by name; at most 1000. Raises HeadraceError while it cannot be asked."""
        ...


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
                elif event.kind == RequestEvent.KIND_CLOSED:
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


async def find_usage(opened: Sequence[RequestEvent], counts: Counts, within_s: float) -> dict[str, Usage]:
    """What attempts used that a crash cut off, by name; those that nobody knows are not in it.

    Waits for the ones that still run, and for counts that cannot be asked, as long as `within_s` seconds.
    """
    names = [attempt_name(event.request_id, event.stage, event.attempt) for event in opened]
    found: dict[str, Usage] = {}
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while names:
        again: list[str] = []
        try:
            for first in range(0, len(names), _ASKED_AT_ONCE):
                known = await counts.used(names[first : first + _ASKED_AT_ONCE])
                found.update({name: used.usage for name, used in known.items()})
                again += [name for name, used in known.items() if used.running]
        except HeadraceError:
            again = names
        names = again
        if loop.time() >= until:
            break
        if names:
            await asyncio.sleep(_AGAIN_S)
    return found


def closing(opened: RequestEvent, usage: Usage | None, price: Price | None) -> RequestEvent:
    """The closed event of an attempt that a crash cut off.

    Args:
        opened: its opened event.
        usage: what it used, where somebody knows.
        price: of its deployment now; None where there is no such deployment any more.
    """
    event = RequestEvent()
    event.CopyFrom(opened)
    event.kind = RequestEvent.KIND_CLOSED
    event.error_code = CRASHED
    event.ended_us = event.started_us
    if usage is not None:
        event.usage.CopyFrom(usage)
        if price is not None:
            event.price_version = price.version or ""
            event.cost_nano_usd = price.cost_nano_usd(
                usage.input_tokens, usage.cached_input_tokens, usage.output_tokens, usage.cache_write_input_tokens
            )
    return event
