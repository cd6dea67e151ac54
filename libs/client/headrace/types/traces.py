"""Traces of requests."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

Status = Literal["ok", "error"]
"""How a request ended."""


class TraceSummary(Struct):
    """A trace without its spans. Times are RFC 3339; money is a decimal string in US dollars.

    `spans_thinned` of its spans are gone, because nothing marked it; `saved`: somebody asked that they stay.
    """

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
    spans_thinned: int = 0
    saved: bool = False


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


class DriftBin(Struct, rename={"start": "from", "end": "to"}):
    """How many requests fell into one bin, now and before; of numbers, `start` and `end` are its bounds."""

    name: str
    count: int = 0
    reference_count: int = 0
    start: float | None = None
    end: float | None = None


class DriftDay(Struct):
    """One day's requests, and how much they differ from the time before."""

    day: str
    count: int = 0
    psi: float = 0.0


class Drift(Struct):
    """How one feature of a model's requests is spread now and was before.

    `psi` is the population stability index less what chance makes of it; `q_value` is the p-value corrected for all
    tests of the look. Both p and q are None with too few requests.
    """

    feature: str
    model: str
    tenant: str = ""
    collection: str = ""
    drifted: bool = False
    psi: float = 0.0
    test: str = ""
    p_value: float | None = None
    q_value: float | None = None
    count: int = 0
    reference_count: int = 0
    bins: list[DriftBin] = field(default_factory=list)
    days: list[DriftDay] = field(default_factory=list)


class DriftFound(Struct, rename={"start": "from", "end": "to"}):
    """What drifted, first and by how much; `start` and `end` are the days looked at, in UTC."""

    data: list[Drift]
    tests: int = 0
    start: str = ""
    end: str = ""
    reference_from: str = ""
    reference_to: str = ""
    more: bool = False


class Turn(Struct):
    """One message of a trace's content. `more_json` is JSON of what is no text, for example calls of tools."""

    role: str
    text: str = ""
    more_json: str = ""


class TracePassage(Struct):
    """A passage that stood in the prompt; `start` and `end` point into the document's stored text."""

    number: int = 0
    collection: str = ""
    document_id: str = ""
    chunk_id: str = ""
    title: str = ""
    text: str = ""
    score: float | None = None
    start: int = 0
    end: int = 0
    page: int = 0
    cited: bool = False
    quotes: list[str] = []


class TraceContent(Struct):
    """What was asked and answered; `capture` is `off`, `redacted` or `full`."""

    capture: str = "off"
    input: list[Turn] = field(default_factory=list)
    output: list[Turn] = field(default_factory=list)
    passages: list[TracePassage] = field(default_factory=list)
    options_json: str = ""


class TraceDecision(Struct):
    """One attempt on a deployment; `confidence` is the value of `signal`, `reason` why it was not the first."""

    stage: int = 0
    attempt: int = 0
    deployment: str = ""
    verdict: str = ""
    confidence: float | None = None
    signal: str = ""
    moment: str = ""
    reason: str = ""
    error: str = ""


class TraceFinding(Struct):
    """What a guardrail found, and how often."""

    direction: str = ""
    check: str = ""
    kind: str = ""
    action: str = ""
    count: int = 1


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
    decisions: list[TraceDecision] = field(default_factory=list)
    findings: list[TraceFinding] = field(default_factory=list)

    @property
    def thinned(self) -> int:
        """Spans that are gone because nothing marked the trace. The sums count them."""
        return self.summary.spans_thinned if self.summary else 0

    @property
    def root(self) -> TraceSpan | None:
        """The first span whose parent is not in the trace; None where no span has arrived."""
        ids = {span.span_id for span in self.spans}
        return next((span for span in self.spans if span.parent_span_id not in ids), None)
