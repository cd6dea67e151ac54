"""The ledger held against what engines counted, request by request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from headrace_gateway.ledger.reconcile import Counts, Used
from headrace_gateway.ports import attempt_name
from headrace_kit.config.deployments import Price

_ASKED_AT_ONCE = 1000


class Held(StrEnum):
    """How a row of the ledger stands beside the engine's count."""

    SAME = "same"
    TOKENS_DIFFER = "tokens_differ"
    COST_DIFFERS = "cost_differs"
    """Tokens agree, and the price list that the row names makes another cost of them."""
    OPEN = "open"
    """The attempt has not ended."""
    UNUSED = "unused"
    """It never reached an engine and cost nothing: from the cache, refused, or lost before it began."""
    NOT_COUNTED = "not_counted"
    """Nobody else counted it, or none remembers: an endpoint outside, vectors, or too long ago."""


DIFFERING = frozenset({Held.TOKENS_DIFFER, Held.COST_DIFFERS})


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What the ledger says of one attempt."""

    request_id: str
    stage: int
    attempt: int
    trace_id: str
    tenant: str
    deployment: str
    open: bool
    input_tokens: int
    cached_input_tokens: int
    cache_write_input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    price_version: str
    error_code: str = ""

    @property
    def name(self) -> str:
        """As inference knows it."""
        return attempt_name(self.request_id, self.stage, self.attempt)


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that does not agree, with what it should have been by the engine's count."""

    row: LedgerRow
    held: Held
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_nano_usd: int | None
    """None where the price list that the row names is not the config's any more."""


@dataclass(slots=True)
class Report:
    """Rows by how they stand, and those that differ."""

    counts: Counter[Held] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)


async def hold(rows: Sequence[LedgerRow], counts: Counts, price: Callable[[str], Price | None]) -> Report:
    """Compare rows with what inference counted.

    Args:
        rows: of the ledger.
        counts: inference; it remembers the newest 50,000 attempts of each replica.
        price: of a deployment, by the config in force.

    Raises:
        HeadraceError: inference cannot be asked.
    """
    known: dict[str, Used] = {}
    for first in range(0, len(rows), _ASKED_AT_ONCE):
        known |= await counts.used([row.name for row in rows[first : first + _ASKED_AT_ONCE]])
    report = Report()
    for row in rows:
        found = compare(row, known, price)
        report.counts[found.held] += 1
        if found.held in DIFFERING:
            report.differences.append(found)
    return report


def compare(row: LedgerRow, known: Mapping[str, Used], price: Callable[[str], Price | None]) -> Difference:
    """How one row stands."""
    used = known.get(row.name)
    if row.open or (used is not None and used.running):
        return _as_it_is(row, Held.OPEN)
    if used is None:
        spent = row.input_tokens or row.output_tokens or row.cost_nano_usd
        return _as_it_is(row, Held.NOT_COUNTED if spent else Held.UNUSED)
    counted = used.usage
    listed = price(row.deployment)
    cost = None
    if listed is not None and (listed.version or "") == row.price_version:
        cost = listed.cost_nano_usd(
            counted.input_tokens, counted.cached_input_tokens, counted.output_tokens, counted.cache_write_input_tokens
        )
    tokens = (counted.input_tokens, counted.cached_input_tokens, counted.output_tokens)
    if tokens != (row.input_tokens, row.cached_input_tokens, row.output_tokens):
        return Difference(row, Held.TOKENS_DIFFER, *tokens, cost)
    if cost is not None and cost != row.cost_nano_usd:
        return Difference(row, Held.COST_DIFFERS, *tokens, cost)
    return _as_it_is(row, Held.SAME)


def _as_it_is(row: LedgerRow, held: Held) -> Difference:
    return Difference(row, held, row.input_tokens, row.cached_input_tokens, row.output_tokens, row.cost_nano_usd)
