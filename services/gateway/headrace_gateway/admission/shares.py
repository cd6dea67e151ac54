"""How replicas share the rates of tenants and keys: by demand, told once a second."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Protocol

from headrace_gateway.admission.rates import RateBook, Rates
from headrace_kit.ending import end
from headrace_kit.errors import HeadraceError

_log = logging.getLogger(__name__)
_EVERY_S = 1.0
_IDLE_S = 60.0
_EVEN = 0.2
"""What is shared evenly, so that a replica can begin; the rest is shared by demand."""


class RateStore(Protocol):
    """Where replicas tell their demand."""

    async def tell(self, holder: str, demand: Mapping[str, float]) -> dict[str, dict[str, float]]:
        """Tell this replica's demand by tenant; returns that of all replicas that told theirs of late.

        The tenant "" stands for being there at all. Raises NotReady.
        """
        ...


def share(holder: str, demand: Mapping[str, float]) -> float:
    """A replica's part, from everybody's demand; all parts together are 1."""
    total = sum(demand.values())
    even = 1 / len(demand)
    return even if total <= 0 else _EVEN * even + (1 - _EVEN) * demand[holder] / total


class Sharer:
    """Sets the shares of a book's buckets. While the store is away they stay as they are.

    Args:
        book: the buckets.
        store: where replicas meet.
        holder: name of this replica.
    """

    def __init__(self, book: RateBook, store: RateStore, holder: str) -> None:
        self._book, self._store, self._holder = book, store, holder
        self._before: dict[str, tuple[float, float]] = {}
        self._active: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; the others have this replica's part a moment later."""
        await end(self._task)

    async def step(self) -> None:
        """Tell the demand since the last time, and take the shares. Raises NotReady."""
        now = self._book.clock()
        demand = {"": 0.0}
        for tenant, rates in self._book.all().items():
            asked = rates.asked
            weight = (self._before.get(tenant, (0.0, 0.0))[1] + asked - self._before.get(tenant, (0.0, 0.0))[0]) / 2
            self._before[tenant] = (asked, weight)
            if weight > 0.01:
                self._active[tenant] = now
            if now - self._active.get(tenant, -_IDLE_S) < _IDLE_S:
                demand[tenant] = weight
        for tenant in [tenant for tenant in self._before if tenant not in self._book.all()]:
            del self._before[tenant]
            self._active.pop(tenant, None)
        told = await self._store.tell(self._holder, demand)
        self._book.replicas = max(1, len(told.get("", {})))
        for tenant, everybody in told.items():
            rates_now = self._book.all().get(tenant)
            if rates_now is not None and self._holder in everybody:
                _set(rates_now, share(self._holder, everybody), now)

    async def _run(self) -> None:
        away = False
        while True:
            try:
                await self.step()
                away = False
            except HeadraceError as error:
                if not away:
                    _log.warning("limits are shared as before: %s", error.message)
                away = True
            except Exception:
                _log.exception("limits cannot be shared")
            with contextlib.suppress(TimeoutError):
                await asyncio.sleep(_EVERY_S)


def _set(rates: Rates, part: float, now: float) -> None:
    for bucket in (rates.requests, rates.tokens):
        if bucket is not None:
            bucket.take_part(part, now)
