"""How far a log is in the table without a gap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headrace_protos.common.v1.event_pb2 import RequestEvent


def advance(known: Mapping[str, int], events: Iterable[RequestEvent]) -> dict[str, int]:
    """The sequence up to which each log of `events` is complete, given that it was complete up to `known`.

    A gap (the stream lost events) stops a log there; its gateway sends everything after it again.
    """
    reached: dict[str, int] = {}
    for event in events:
        current = reached.setdefault(event.log_id, known.get(event.log_id, 0))
        if event.sequence == current + 1:
            reached[event.log_id] = event.sequence
    return reached
