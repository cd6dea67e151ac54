"""What budgets need from stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_gateway.budgets.period import Period


@dataclass(frozen=True, slots=True)
class Holder:
    """A replica's entry in a budget. Amounts are running totals in nano-dollars; None: it has not said yet."""

    name: str
    sequence: int
    spent: int
    granted: int | None


@dataclass(frozen=True, slots=True)
class Ask:
    """What a replica says about its slice, and what it wants.

    Attributes:
        name: of the budget and period.
        before: the same budget in the period before.
        limit: the budget.
        holder: of the replica.
        sequence: grows with every ask of this replica; older ones that arrive late are ignored.
        spent: its running total.
        granted: up to where it may spend now; what it was granted beyond that is given back, or never reached it.
        wanted: up to where it would like to spend, at least `granted`.
        least: less than up to here is no use to it. Where there is less it is granted nothing more, and the others hear
            that there is no room, so that they give back what they do not need. 0: anything is of use.
        era: as the store said last; empty for a replica that never heard of it.
    """

    name: str
    before: str
    limit: int
    holder: str
    sequence: int
    spent: int
    granted: int
    wanted: int
    least: int
    era: str


@dataclass(frozen=True, slots=True)
class Grant:
    """Answer to an `Ask`.

    Attributes:
        granted: the replica's new running total.
        settled: what all replicas have spent.
        room: limit less everything that is spent, reserved or leased; below 0 after a budget was made smaller. 0 while
            another replica waits for more than there is.
        holders: all replicas with entries.
        era: see `Ask`.
    """

    granted: int
    settled: int
    room: int
    holders: Sequence[Holder]
    era: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The store knows nothing of this budget; `era` names the time since it knew nothing at all."""

    era: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What a replica has spent by the ledger.

    `finished`: it is gone, and all of its events are in the ledger. `lost`: nothing was heard of it for an hour, and
    nobody has taken over its log.
    """

    nano_usd: int
    finished: bool
    lost: bool = False


class LeaseStore(Protocol):
    """Where replicas meet. Each call is atomic, and safe to repeat."""

    async def lease(self, ask: Ask) -> Grant | Unknown:
        """Report what was spent, and change the slice. Raises NotReady while the store is away."""
        ...

    async def begin(self, name: str, era: str, spent: int, holders: Mapping[str, int]) -> None:
        """Start a budget of which nothing is known, if it is still `era`.

        Nothing is granted of it until each of `holders` has told its slice, or was closed.

        Args:
            name: of the budget and period.
            era: as `Unknown` said.
            spent: by replicas that are gone for good.
            holders: what other replicas have spent at least.
        """
        ...

    async def close(self, name: str, holder: str, sequence: int, spent: int, *, finished: bool) -> None:
        """A replica has said nothing since `sequence` and is gone: it has spent so much, the rest is free again.

        Without `finished` its entry is kept, so that it can be corrected when more becomes known.
        """
        ...

    async def era(self) -> str:
        """Names the time since it knew nothing at all; empty where it knows nothing now. Raises NotReady."""
        ...

    async def drop(self, names: Sequence[str]) -> None:
        """Forget budgets of periods that are over."""
        ...


class SpendRecord(Protocol):
    """The ledger, as far as budgets are concerned. Raises NotReady while it is away."""

    async def register(self, holder: str) -> None:
        """A replica is there; done before it leases anything."""
        ...

    async def spent(self, tenant: str, period: Period) -> dict[str, Spent]:
        """What each replica has spent of a tenant's money in a period, and every replica that is not finished."""
        ...
