"""Spans as tracing keeps them, and what a whole trace comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace_kit.telemetry import genai

KINDS = ("internal", "server", "client", "producer", "consumer")
"""Kinds of spans; a store may keep the position."""

STATUSES = ("unset", "ok", "error")
"""Statuses of spans; a store may keep the position."""

MAX_TOKENS = 10**9
MAX_COST_NANO_USD = 10**13
"""Most that one attempt may claim; above, the figure is taken for nonsense and not summed."""


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened at one moment of a span. Nanoseconds since 1970."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """One finished span. `tenant` and `parent_span_id` are empty where unknown; times are nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_span_id: str
    tenant: str
    service: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str = "unset"
    status_message: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[SpanEvent, ...] = ()

    @property
    def model(self) -> str:
        """The model that was asked for, where the span says so."""
        value = self.attributes.get(genai.REQUEST_MODEL)
        return value if isinstance(value, str) else ""

    @property
    def usage(self) -> Usage:
        """What this span adds to its trace's sums: nothing, unless it is the billed one of its attempt."""
        if self.attributes.get(genai.BILLED) is not True:
            return Usage()
        return Usage(
            _count(self.attributes.get(genai.USAGE_INPUT_TOKENS), MAX_TOKENS),
            _count(self.attributes.get(genai.USAGE_OUTPUT_TOKENS), MAX_TOKENS),
            _count(self.attributes.get(genai.COST_NANO_USD), MAX_COST_NANO_USD),
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and money, in nano-USD."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_nano_usd + other.cost_nano_usd,
        )


def _count(value: Any, most: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else 0


@dataclass(frozen=True, slots=True)
class Summary:
    """What one tenant's spans of one trace come to.

    The earliest span gives the name and the status, the earliest span that names a model gives the model; so the
    result does not depend on the order in which spans arrive. `model_at_ns` is the start of that span, or None.
    """

    trace_id: str
    tenant: str
    name: str
    status: str
    start_ns: int
    end_ns: int
    spans: int
    usage: Usage = Usage()
    model: str = ""
    model_at_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """What somebody thought of an answer. `score` is -1 to 1; `created_ns` nanoseconds since 1970."""

    id: str
    trace_id: str
    tenant: str
    span_id: str
    score: float | None
    label: str
    comment: str
    created_ns: int
    key_id: str = ""
    user: str = ""
