"""What the ledger needs from its stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from headrace_protos.common.v1.event_pb2 import RequestEvent


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What to add up: times are [from, to); `tenant` None means all."""

    tenant: str | None
    group_by: Sequence[str]
    start: datetime | None
    end: datetime | None


class EventStream(Protocol):
    """The stream that carries events of all gateways. Methods raise `NotReady` while it is away."""

    async def add(self, events: Sequence[bytes]) -> None:
        """Append serialized events in order."""
        ...

    async def read(self, after: str, limit: int) -> list[tuple[str, bytes]]:
        """At most `limit` events after a position, each with its own. Position "" is the beginning."""
        ...


class LedgerStore(Protocol):
    """The table. Methods raise `NotReady` while it is away."""

    async def write(self, fetch: Fetch) -> int:
        """Move a batch from the stream into the table in one transaction; returns how many events it had.

        `fetch` is called with the stream position up to which the table has everything. Only one writer at a time
        gets that far; others return 0.
        """
        ...

    async def confirmed(self, log_id: str) -> int:
        """Sequence up to which the table has every event of a log."""
        ...

    async def usage(self, query: UsageQuery) -> list[Mapping[str, Any]]:
        """Groups with `requests`, `input_tokens`, `output_tokens`, `cost_nano_usd`."""
        ...


class Fetch(Protocol):
    """Reads the next batch of the stream."""

    async def __call__(self, position: str) -> tuple[str, list[RequestEvent]]:
        """Events after `position`, and the position after them."""
        ...
