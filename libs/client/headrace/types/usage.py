"""Usage and cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One group's sums. `groups` holds the value of each dimension asked for, in that order.

    `overhead_usd` is the part of the cost that went into answers which a cascade rejected, `saved_usd` what the
    answers from the cache did not cost again.
    """

    groups: dict[str, str]
    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: str
    overhead_usd: str
    cache_hits: int = 0
    saved_usd: str = "0"
