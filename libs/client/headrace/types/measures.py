"""Sums over traces."""

from __future__ import annotations

from msgspec import Struct, field


class Percentiles(Struct):
    """In milliseconds; None where nothing was measured."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Measures(Struct):
    """What some requests come to. Rates are 0 to 1, and None where there is nothing to divide by.

    `ttft_ms` is the time to the first token, `tpot_ms` that of each further one; money is a decimal string in US
    dollars. `flagged` are requests with a finding of a guardrail; `feedback` is the mean score, -1 to 1.
    """

    requests: int = 0
    errors: int = 0
    error_rate: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str = "0"
    duration_ms: Percentiles = field(default_factory=Percentiles)
    ttft_ms: Percentiles = field(default_factory=Percentiles)
    tpot_ms: Percentiles = field(default_factory=Percentiles)
    cache_hit_rate: float | None = None
    cache_hits: int = 0
    escalation_rate: float | None = None
    escalated: int = 0
    flagged: int = 0
    feedback: float | None = None
    feedback_count: int = 0


class MeasuredRow(Struct):
    """One group in one span of time; `time` is its start, RFC 3339."""

    group: dict[str, str] = field(default_factory=dict)
    time: str | None = None
    measures: Measures = field(default_factory=Measures)


class Measured(Struct, rename={"start": "from", "end": "to"}):
    """Rows by time, then those with most requests first; `start` and `end` are the times that were counted.

    `more`: there are more rows than the limit.
    """

    data: list[MeasuredRow]
    start: str | None = None
    end: str | None = None
    more: bool = False


class Difference(Struct):
    """One measure on two sides: rates, and means over requests (of times, geometric ones).

    `change` is (b - a) / a; `p_value`, two-sided, how often chance alone would differ as much, None with fewer than 10
    requests on either side.
    """

    measure: str
    a: float | None = None
    b: float | None = None
    change: float | None = None
    p_value: float | None = None


class Comparison(Struct):
    """Two sets of requests side by side."""

    a: Measures
    b: Measures
    differences: list[Difference] = field(default_factory=list)


class Session(Struct):
    """The requests of one conversation; `question` is what the first one asked, `user` a keyed digest."""

    session: str
    tenant: str = ""
    start_time: str | None = None
    end_time: str | None = None
    traces: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str = "0"
    feedback: float | None = None
    question: str = ""
    user: str = ""
    models: list[str] = field(default_factory=list)


class SessionPage(Struct):
    """Sessions, those with the newest request first. Pass `next_page_token` to get the page after; empty at the end."""

    data: list[Session]
    next_page_token: str = ""
