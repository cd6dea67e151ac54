"""Calls to other services through the kit's peers."""

from __future__ import annotations

from headrace_gateway.ports import Envelope
from headrace_kit.rpc import Outbound


def outbound(sent: Envelope) -> Outbound:
    """The kit's form of an envelope."""
    return Outbound(sent.identity, sent.request_id, sent.deadline, sent.config_hash, sent.traceparent)
