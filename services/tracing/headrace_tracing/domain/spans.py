"""Spans as tracing keeps them, and what a whole trace comes to.

What is made for every span is a struct: a tenth of the time of a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from headrace_kit.telemetry import genai
from headrace_tracing.domain.content import Content, Turn
from headrace_tracing.domain.features import NOTHING, Features

KINDS = ("internal", "server", "client", "producer", "consumer")
"""Kinds of spans; a store may keep the position."""

STATUSES = ("unset", "ok", "error")
"""Statuses of spans; a store may keep the position."""

REPORTED = "headrace.reported"
"""True on a model's span of an application's own instrumentation, whose tokens count where the gateway counted none."""

MAX_TOKENS = 10**9
MAX_COST_NANO_USD = 10**13
"""Most that one attempt may claim; above, the figure is taken for nonsense and not summed."""


class SpanEvent(Struct, frozen=True):
    """Something that happened at one moment of a span. Nanoseconds since 1970."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any] = {}


class Span(Struct, frozen=True):
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
    attributes: Mapping[str, Any] = {}
    events: tuple[SpanEvent, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """Trace and span ids of spans that it belongs with."""
    content: Content | None = None
    sealed: bytes = b""
    """The content as it was sent, encrypted, where the tenant's is kept in full."""
    sent: tuple[Turn, ...] = ()
    """The content's input before guardrails changed it, until it is sealed: it is never stored or forwarded so."""

    @property
    def model(self) -> str:
        """The model that was asked for, where the span says so."""
        value = self.attributes.get(genai.REQUEST_MODEL)
        return value if isinstance(value, str) else ""

    @property
    def usage(self) -> Usage:
        """What this span adds to its trace's sums, or to those that others reported."""
        if self.attributes.get(genai.BILLED) is not True and self.attributes.get(REPORTED) is not True:
            return Usage()
        return Usage(
            _count(self.attributes.get(genai.USAGE_INPUT_TOKENS), MAX_TOKENS),
            _count(self.attributes.get(genai.USAGE_OUTPUT_TOKENS), MAX_TOKENS),
            _count(self.attributes.get(genai.COST_NANO_USD), MAX_COST_NANO_USD),
        )


class Usage(Struct, frozen=True):
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


class Facts(Struct, frozen=True):
    """What a trace is about, as its describing span says: the earliest that names a model.

    `ttft_us` is the time to the first piece in microseconds, 0 where nothing streamed. `user` is a keyed digest.
    """

    model: str = ""
    deployment: str = ""
    arm: str = ""
    operation: str = ""
    provider: str = ""
    cache: str = ""
    key_id: str = ""
    config_hash: str = ""
    rollout: str = ""
    user: str = ""
    question: str = ""
    ttft_us: int = 0
    watched: Features = NOTHING


class Said(Struct, frozen=True):
    """What feedback on a trace comes to: the sum of `scores` scores, how many entries, and their labels."""

    score_sum: float = 0.0
    scores: int = 0
    count: int = 0
    labels: tuple[str, ...] = ()

    @property
    def mean(self) -> float | None:
        """Mean score, -1 to 1; None without scores."""
        return self.score_sum / self.scores if self.scores else None


class Summary(Struct, frozen=True):
    """What one tenant's spans of one trace come to.

    The earliest span gives the name, the status and the error, the earliest span that names a model gives the facts;
    so the result does not depend on the order in which spans arrive. `model_at_ns` is the start of that span, or None.
    `billed` sums what the gateway counted, over `attempts` spans; `reported` what others said of their own calls.
    `stages` is the highest stage of a cascade that was asked, from 1. `failed` spans have the status error, and
    `unsure` answers of a cascade were rejected. `thinned` of the spans are gone; a `saved` trace keeps what it has.
    """

    trace_id: str
    tenant: str
    name: str
    status: str
    start_ns: int
    end_ns: int
    spans: int
    billed: Usage = Usage()
    reported: Usage = Usage()
    attempts: int = 0
    facts: Facts = Facts()
    model_at_ns: int | None = None
    error: str = ""
    session: str = ""
    stages: int = 0
    findings: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    capture: int = 0
    said: Said = Said()
    failed: int = 0
    unsure: int = 0
    thinned: int = 0
    saved: bool = False

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return self.facts.model

    @property
    def usage(self) -> Usage:
        """Tokens and money: the gateway's count, or where it has none, what others reported."""
        return self.billed if self.attempts else self.reported

    @property
    def tpot_ms(self) -> float | None:
        """Mean milliseconds of each output token after the first."""
        later = self.usage.output_tokens - 1
        if not self.facts.ttft_us or later < 1:
            return None
        return max(0.0, (self.end_ns - self.start_ns) / 1e6 - self.facts.ttft_us / 1e3) / later


class Feedback(Struct, frozen=True):
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
    correction: str = ""
    source: str = "person"
