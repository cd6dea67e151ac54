"""Sums over traces, and whether two of them differ by more than chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

DIMENSIONS = (
    "tenant", "model", "deployment", "arm", "status", "operation", "cache", "error", "provider", "config_hash",
    "rollout", "key_id", "session", "user", "name",
)  # fmt: skip
"""What sums may be grouped by."""

LEAST_FOR_P = 10
"""Traces that each side needs before a p-value is told."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles, and moments for comparisons: of times, those of the natural logarithm of milliseconds."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    count: int = 0
    mean: float | None = None
    variance: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Sums over some traces. Times are milliseconds, money nano-USD. `group` holds the values of the dimensions."""

    group: dict[str, str] = field(default_factory=dict)
    time_ns: int = 0
    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0
    cache_hits: int = 0
    cache_lookups: int = 0
    escalated: int = 0
    asked: int = 0
    flagged: int = 0
    said: int = 0
    duration: Spread = Spread()
    ttft: Spread = Spread()
    tpot: Spread = Spread()
    cost: Spread = Spread()
    tokens: Spread = Spread()
    feedback: Spread = Spread()


@dataclass(frozen=True, slots=True)
class Session:
    """The traces of one conversation."""

    session: str
    tenant: str
    start_ns: int
    end_ns: int
    last_start_ns: int
    traces: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    feedback: float | None
    question: str
    user: str
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure of two sets of traces. `p_value` is None where there is too little to tell."""

    measure: str
    a: float | None
    b: float | None
    p_value: float | None

    @property
    def change(self) -> float | None:
        """(b - a) / a."""
        return None if self.a is None or self.b is None or not self.a else (self.b - self.a) / self.a


def rate(part: int, whole: int) -> float | None:
    """0 to 1; None where there is nothing to divide by."""
    return part / whole if whole else None


def differences(a: Measured, b: Measured) -> list[Difference]:
    """Every measure of both. Rates by a pooled z-test, means by Welch's z (with ten and more a side t is close to it).

    Source: Welch 1947, "The generalization of 'Student's' problem when several different population variances are
    involved"; times are compared on their logarithms, because they are skewed.
    """
    rates: tuple[tuple[str, Callable[[Measured], tuple[int, int]]], ...] = (
        ("error_rate", lambda m: (m.errors, m.requests)),
        ("cache_hit_rate", lambda m: (m.cache_hits, m.cache_lookups)),
        ("escalation_rate", lambda m: (m.escalated, m.asked)),
        ("flagged_rate", lambda m: (m.flagged, m.requests)),
    )
    means: tuple[tuple[str, Callable[[Measured], Spread], Callable[[float], float]], ...] = (
        ("duration_ms", lambda m: m.duration, math.exp),
        ("ttft_ms", lambda m: m.ttft, math.exp),
        ("tpot_ms", lambda m: m.tpot, math.exp),
        ("cost_usd", lambda m: m.cost, lambda nano: nano / 1e9),
        ("output_tokens", lambda m: m.tokens, float),
        ("feedback", lambda m: m.feedback, float),
    )
    found = [Difference(name, rate(*of(a)), rate(*of(b)), _p_of_rates(*of(a), *of(b))) for name, of in rates]
    for name, spread, shown in means:
        one, other = spread(a), spread(b)
        found.append(
            Difference(
                name,
                None if one.mean is None else shown(one.mean),
                None if other.mean is None else shown(other.mean),
                _p_of_means(one, other),
            )
        )
    return found


def _p_of_rates(x: int, n: int, y: int, m: int) -> float | None:
    if min(n, m) < LEAST_FOR_P:
        return None
    pooled = (x + y) / (n + m)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return 1.0 if not error else _two_sided((y / m - x / n) / error)


def _p_of_means(one: Spread, other: Spread) -> float | None:
    if min(one.count, other.count) < LEAST_FOR_P or one.mean is None or other.mean is None:
        return None
    error = math.sqrt((one.variance or 0.0) / one.count + (other.variance or 0.0) / other.count)
    if not error:
        return 1.0 if one.mean == other.mean else 0.0
    return _two_sided((other.mean - one.mean) / error)


def _two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))
