"""Questions of a day's sample, before they are embedded and after."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that is to be embedded. `text` is as it is stored, redacted."""

    trace_id: bytes
    tenant: str
    model: str
    collections: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question that was embedded.

    Attributes:
        day: from 1970 (UTC).
        trace_id: of its trace.
        collections: that its request read.
        asker: who asked it: a digest of the user, else the conversation, else the request.
        text: redacted; empty where the trace is gone.
        vector: float16, little-endian; any length but 0.
    """

    day: int
    trace_id: bytes
    collections: tuple[str, ...]
    asker: str
    text: str
    vector: bytes
