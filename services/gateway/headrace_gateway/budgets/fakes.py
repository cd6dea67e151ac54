"""The stores of budgets in memory, for tests: the lease script said again in Python, and a ledger of sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace_gateway.budgets.period import Period
from headrace_gateway.budgets.ports import Ask, Grant, Holder, Spent, Unknown
from headrace_kit.errors import NotReady


@dataclass
class FakeEntry:
    """A replica's entry."""

    sequence: int
    spent: int
    granted: int | None


@dataclass
class FakeAccount:
    """A budget in a period."""

    base: int
    entries: dict[str, FakeEntry] = field(default_factory=dict)
    short: str = ""
    """Who waits for more than there is."""

    @property
    def open(self) -> bool:
        """Whether every replica has told its slice."""
        return all(entry.granted is not None for entry in self.entries.values())

    @property
    def settled(self) -> int:
        """What all have spent."""
        return self.base + sum(entry.spent for entry in self.entries.values())

    @property
    def taken(self) -> int:
        """What is spent, reserved or leased."""
        return self.base + sum(max(entry.spent, entry.granted or 0) for entry in self.entries.values())


@dataclass
class FakeLeases:
    """Fulfils `LeaseStore` as the script of `valkey_budgets` does; a test holds the two against each other."""

    accounts: dict[str, FakeAccount] = field(default_factory=dict)
    now: str = ""
    eras: int = 0
    away: bool = False
    checked: bool = True
    """Grants only what is there. Tests turn it off to see that they notice."""

    async def lease(self, ask: Ask) -> Grant | Unknown:
        """See `LeaseStore`."""
        self._there()
        if not self.now:
            self.eras += 1
            self.now = f"era-{self.eras}"
        account = self.accounts.get(ask.name)
        if account is None:
            past = self.accounts.get(ask.before)
            if past is None or not past.open:
                return Unknown(self.now)
            account = FakeAccount(0)
        if ask.era != self.now and not (ask.era == "" and ask.holder not in account.entries):
            return Unknown(self.now)
        self.accounts[ask.name] = account
        mine = account.entries.setdefault(ask.holder, FakeEntry(0, 0, 0))
        if ask.sequence > mine.sequence:
            mine.sequence, mine.spent = ask.sequence, max(mine.spent, ask.spent)
            mine.granted = max(ask.granted, mine.spent)
        room = ask.limit - account.taken
        if account.open and ask.sequence == mine.sequence and mine.granted is not None:
            more = max(0, min(ask.wanted - mine.granted, room) if self.checked else ask.wanted - mine.granted)
            if mine.granted + more < ask.least:
                more, account.short = 0, ask.holder
            elif account.short == ask.holder:
                account.short = ""
            mine.granted += more
            room -= more
        if not account.open or account.short not in ("", ask.holder):
            room = min(room, 0)
        holders = [Holder(name, entry.sequence, entry.spent, entry.granted) for name, entry in account.entries.items()]
        return Grant(mine.granted or 0, account.settled, room, holders, self.now)

    async def begin(self, name: str, era: str, spent: int, holders: Mapping[str, int]) -> None:
        """See `LeaseStore`."""
        self._there()
        if self.now and era == self.now and name not in self.accounts:
            entries = {holder: FakeEntry(0, least, None) for holder, least in holders.items()}
            self.accounts[name] = FakeAccount(spent, entries)

    async def close(self, name: str, holder: str, sequence: int, spent: int, *, finished: bool) -> None:
        """See `LeaseStore`."""
        self._there()
        account = self.accounts.get(name)
        entry = account.entries.get(holder) if account else None
        if account is None or entry is None or entry.sequence != sequence:
            return
        entry.spent = max(entry.spent, spent)
        entry.granted = entry.spent
        if account.short == holder:
            account.short = ""
        if finished:
            account.base += entry.spent
            del account.entries[holder]

    async def drop(self, names: Sequence[str]) -> None:
        """See `LeaseStore`."""
        self._there()
        for name in names:
            self.accounts.pop(name, None)

    async def era(self) -> str:
        """See `LeaseStore`."""
        self._there()
        return self.now

    def flush(self) -> None:
        """Lose everything."""
        self.accounts, self.now = {}, ""

    def _there(self) -> None:
        if self.away:
            raise NotReady("the store that replicas share it through is away")


@dataclass
class FakeSpending:
    """Fulfils `SpendRecord`: what replicas have spent, by tenant and day."""

    rows: dict[tuple[str, str, int], int] = field(default_factory=dict)
    replicas: dict[str, bool] = field(default_factory=dict)
    """By name, whether it is finished."""
    lost: set[str] = field(default_factory=set)
    away: bool = False

    async def register(self, holder: str) -> None:
        """See `SpendRecord`."""
        self._there()
        self.replicas.setdefault(holder, False)

    async def spent(self, tenant: str, period: Period) -> dict[str, Spent]:
        """See `SpendRecord`."""
        self._there()
        sums: dict[str, int] = {}
        for (of, holder, day), cost in self.rows.items():
            if of == tenant and period.first <= day < period.end:
                sums[holder] = sums.get(holder, 0) + cost
        unfinished = [name for name, finished in self.replicas.items() if not finished]
        return {
            name: Spent(sums.get(name, 0), name not in unfinished, name in self.lost) for name in {*sums, *unfinished}
        }

    def write(self, tenant: str, holder: str, day: int, cost: int) -> None:
        """A row of the ledger."""
        self.rows[tenant, holder, day] = self.rows.get((tenant, holder, day), 0) + cost

    def _there(self) -> None:
        if self.away:
            raise NotReady("the ledger is away")
