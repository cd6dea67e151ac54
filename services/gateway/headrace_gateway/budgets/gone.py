"""Replicas that are gone: what they held is free again as soon as the ledger says what they have spent of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headrace_gateway.budgets.ports import Holder, LeaseStore, SpendRecord
from headrace_gateway.budgets.slices import LAPSE_S, Slice

_LOOK_S = 1.0


class Gone:
    """Watches the entries of other replicas.

    Whether one is silent is measured by this replica's own clock, from the first time that it saw the entry as it is:
    no clock of another machine has a part in it.

    Args:
        clock: seconds that never run backwards.
        store: where the entries are.
        record: the ledger.
        holder: name of this replica.
    """

    def __init__(self, clock: Callable[[], float], store: LeaseStore, record: SpendRecord, holder: str) -> None:
        self._clock, self._store, self._record, self._holder = clock, store, record, holder
        self._slices: dict[str, tuple[Slice, dict[str, Holder]]] = {}
        self._silent: dict[tuple[str, str], tuple[Holder, float, float]] = {}

    def seen(self, slice_: Slice, holders: Sequence[Holder]) -> None:
        """Entries as they are now."""
        now = self._clock()
        others = {holder.name: holder for holder in holders if holder.name != self._holder}
        for name in self._slices.get(slice_.name, (slice_, {}))[1]:
            if name not in others:
                self._silent.pop((slice_.name, name), None)
        for name, holder in others.items():
            known = self._silent.get((slice_.name, name))
            if known is None or known[0] != holder:
                self._silent[slice_.name, name] = (holder, now, now)
        self._slices[slice_.name] = (slice_, others)

    async def close(self) -> None:
        """Close those that are gone for sure, or that have been silent for so long. Raises NotReady."""
        now = self._clock()
        for name, (slice_, others) in list(self._slices.items()):
            asked = []
            for other in others:
                known = self._silent.get((name, other))
                if known is not None and now - known[2] >= max(_LOOK_S, (now - known[1]) / 4):
                    self._silent[name, other] = (known[0], known[1], now)
                    asked.append((known[0], known[1]))
            if not asked:
                continue
            found = await self._record.spent(slice_.tenant, slice_.period)
            for holder, since in asked:
                spent = found.get(holder.name)
                finished = spent is None or spent.finished
                holds = holder.granted is None or holder.granted > holder.spent
                lost = spent is not None and spent.lost and holds and now - since > LAPSE_S
                if finished or lost:
                    by_ledger = spent.nano_usd if spent is not None else 0
                    await self._store.close(name, holder.name, holder.sequence, by_ledger, finished=finished)

    def forget(self, names: Sequence[str]) -> None:
        """Budgets of periods that are over."""
        for name in names:
            for other in self._slices.pop(name, (None, {}))[1]:
                self._silent.pop((name, other), None)
