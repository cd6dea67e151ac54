"""Traces of requests."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

Status = Literal["ok", "error"]
"""How a request ended."""


class TraceSummary(Struct):
    """A trace without its spans. Times are RFC 3339; money is a decimal string in US dollars."""

    trace_id: str
    tenant: str = ""
    name: str = ""
    model: str = ""
    start_time: str | None = None
    duration_ms: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str = "0"
    status: str = ""
    spans: int = 0
    deployment: str = ""
    session: str = ""
    question: str = ""
    feedback: float | None = None


class TracePage(Struct):
    """Traces, newest first. Pass `next_page_token` to get the page after; empty at the end."""

    data: list[TraceSummary]
    next_page_token: str = ""


class TraceSpan(Struct):
    """One step of a request in one service."""

    span_id: str
    parent_span_id: str = ""
    service: str = ""
    name: str = ""
    kind: str = ""
    start_time: str | None = None
    duration_ms: float = 0.0
    status: str = ""
    status_message: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)


class Feedback(Struct):
    """A score from -1 to 1, a label or a comment, tied to a trace or to one of its spans."""

    id: str
    span_id: str | None = None
    score: float | None = None
    label: str | None = None
    comment: str | None = None
    correction: str | None = None
    created_at: str | None = None


class Turn(Struct):
    """One message of a trace's content. `more_json` is JSON of what is no text, for example calls of tools."""

    role: str
    text: str = ""
    more_json: str = ""


class TraceContent(Struct):
    """What was asked and answered; `capture` is `off`, `redacted` or `full`."""

    capture: str = "off"
    input: list[Turn] = field(default_factory=list)
    output: list[Turn] = field(default_factory=list)
    options_json: str = ""


class Trace(Struct):
    """All spans of one request, parents before children, and the sums over those that made tokens."""

    trace_id: str
    tenant: str = ""
    start_time: str | None = None
    duration_ms: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str = "0"
    status: str = ""
    spans: list[TraceSpan] = field(default_factory=list)
    feedback: list[Feedback] = field(default_factory=list)
    summary: TraceSummary | None = None
    content: TraceContent | None = None
