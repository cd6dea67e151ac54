"""Usage and cost."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct, field


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


class BudgetState(Struct):
    """A budget in its period, `day` or `month`. Amounts are decimal US dollars.

    `reserved_usd` is held by requests that run, and by gateways for those to come. Without `current` the store that
    gateways share it through is away, and this is what was known last.
    """

    per: str
    budget_usd: str
    spent_usd: str
    reserved_usd: str
    remaining_usd: str
    resets_at: str
    current: bool = True


class TeamLimits(Struct):
    """What a team may do at once and in a minute; None: no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


class TeamBudget(Struct):
    """A team's budgets and limits."""

    tenant: str
    budgets: list[BudgetState] = field(default_factory=list)
    limits: TeamLimits = field(default_factory=TeamLimits)


class Counted(Struct):
    """Tokens and cost of an attempt, as one side has them; no cost where its price list is not in force any more."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str | None = None


class LedgerDifference(Struct):
    """An attempt of which the ledger and the engine say different things: `tokens_differ` or `cost_differs`."""

    request_id: str
    held: str
    ledger: Counted
    engine: Counted
    stage: int = 0
    attempt: int = 0
    trace_id: str = ""
    tenant: str = ""
    deployment: str = ""
    error: str = ""


class Reconciliation(Struct):
    """The ledger beside the engines' counts: how many attempts stand how, and the first 1,000 that differ."""

    attempts: int
    counts: dict[str, int]
    differences: list[LedgerDifference] = field(default_factory=list)
    cut: bool = False
