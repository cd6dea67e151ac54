"""Closing what a crash left open."""

from __future__ import annotations

from headrace_protos.common.v1.event_pb2 import RequestEvent

CRASHED = "gateway_crashed"


def closing(opened: RequestEvent) -> RequestEvent:
    """The closed event of an attempt whose gateway died in it.

    Its tokens are not known here: it is billed nothing, and `reserved_output_tokens` keeps the upper bound.
    """
    event = RequestEvent()
    event.CopyFrom(opened)
    event.error_code = CRASHED
    return event
