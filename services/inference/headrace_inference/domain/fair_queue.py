"""Who is next: priority classes, and within one a deficit round robin between tenants over estimated tokens.

Higher priorities go first, whatever waits below. Within a priority tenants take turns (Shreedhar and Varghese, 1995,
in the variant that lets a tenant overdraw): a tenant whose turn begins earns `QUANTUM` tokens and is served, oldest
request first, while its balance is above zero; each request's cost is taken from it. So a newcomer is served at its
first turn, and of two tenants that wait all the time neither gets more than the other by over two requests and a
quantum, however many requests it has sent. Balances are corrected by what requests really used, and forgotten when a
tenant waits for nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

QUANTUM = 64
"""Tokens that a tenant earns a turn. Small: turns in which nobody is served are skipped, not walked."""

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Entry(Generic[T]):
    """A request that waits. `cost` is in tokens, at least 1; `slots` places in the engine are what it needs."""

    item: T
    tenant: str
    priority: int
    cost: int
    slots: int = 1


@dataclass(eq=False, slots=True)
class _Tenant(Generic[T]):
    """A tenant's requests of one priority, oldest first."""

    entries: OrderedDict[Entry[T], None] = field(default_factory=OrderedDict)
    balance: int = 0
    queued: int = 0

    def first(self) -> Entry[T]:
        return next(iter(self.entries))


class FairQueue(Generic[T]):
    """Holds what waits and says what is next. Knows neither time nor tasks."""

    def __init__(self) -> None:
        self._classes: dict[int, OrderedDict[str, _Tenant[T]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, entry: Entry[T]) -> None:
        """Add a request at the end of its tenant's line."""
        ring = self._classes.setdefault(entry.priority, OrderedDict())
        tenant = ring.get(entry.tenant)
        if tenant is None:
            tenant = ring[entry.tenant] = _Tenant()
            if len(ring) == 1:
                tenant.balance = QUANTUM  # its turn begins
        tenant.entries[entry] = None
        tenant.queued += entry.cost
        self._count += 1

    def head(self) -> Entry[T] | None:
        """The next request; the same again until it is removed or one of a higher priority comes."""
        if not self._count:
            return None
        ring = self._classes[max(self._classes)]
        skipped = False
        while True:
            name = next(iter(ring))
            if ring[name].balance > 0:
                return ring[name].first()
            if not skipped:
                _skip_poor_rounds(ring)
                skipped = True
                continue
            ring.move_to_end(name)
            ring[next(iter(ring))].balance += QUANTUM

    def take(self) -> Entry[T] | None:
        """Remove the next request and let its tenant pay for it."""
        entry = self.head()
        if entry is not None:
            self._classes[entry.priority][entry.tenant].balance -= entry.cost
            self.remove(entry)
        return entry

    def remove(self, entry: Entry[T]) -> None:
        """Remove a request that waits, wherever it stands; one that does not wait any more is ignored."""
        ring = self._classes.get(entry.priority, OrderedDict())
        tenant = ring.get(entry.tenant)
        if tenant is None or entry not in tenant.entries:
            return
        del tenant.entries[entry]
        tenant.queued -= entry.cost
        self._count -= 1
        if not tenant.entries:
            turn_ends = next(iter(ring)) == entry.tenant
            del ring[entry.tenant]
            if not ring:
                del self._classes[entry.priority]
            elif turn_ends:
                ring[next(iter(ring))].balance += QUANTUM

    def correct(self, tenant: str, priority: int, tokens: int) -> None:
        """A request used `tokens` more than its estimate (fewer: negative). Matters while its tenant waits."""
        waiting = self._classes.get(priority, OrderedDict()).get(tenant)
        if waiting is not None:
            waiting.balance -= tokens

    def displaced_by(self, tenant: str, priority: int, cost: int) -> Entry[T] | None:
        """What goes when there is no room for a newcomer: None means the newcomer itself.

        In the lowest priority there is, the tenant with most queued tokens loses its newest request.
        """
        if not self._count:
            return None
        lowest = min(self._classes)
        if priority < lowest:
            return None
        ring = self._classes[lowest]
        heaviest = max(ring, key=lambda name: ring[name].queued)
        if priority == lowest:
            own = cost + (ring[tenant].queued if tenant in ring else 0)
            if tenant == heaviest or own >= ring[heaviest].queued:
                return None
        return next(reversed(ring[heaviest].entries))

    def ahead_of(self, tenant: str, priority: int, cost: int) -> int:
        """Tokens that are served before a newcomer of that cost, were nobody else to come.

        All of higher priorities, the tenant's own, and of every other tenant as much as its turns bring meanwhile.
        """
        ahead = 0
        for level, ring in self._classes.items():
            if level > priority:
                ahead += sum(other.queued for other in ring.values())
            elif level == priority:
                own = ring[tenant].queued if tenant in ring else 0
                ahead += own
                ahead += sum(min(other.queued, own + cost) for name, other in ring.items() if name != tenant)
        return ahead


def _skip_poor_rounds(ring: OrderedDict[str, _Tenant[T]]) -> None:
    """Earn for all whole rounds in which nobody would come above zero."""
    rounds = min(-tenant.balance // QUANTUM for tenant in ring.values())
    if rounds > 0:
        for tenant in ring.values():
            tenant.balance += rounds * QUANTUM
