"""Routes that are only remembered, for tests."""

from __future__ import annotations

from dataclasses import replace

from headrace_kit.config.services import Pods
from headrace_kit.config.services import Routes as Settings
from headrace_kit.errors import NotReady
from headrace_rollout.ports import Seen


class MemoryRoutes:
    """See `Routes`. `away` is why they cannot be had; empty: they can."""

    def __init__(self) -> None:
        self.seen = Seen(0, 0)
        self.away = ""
        self.set: list[int] = []

    async def look(self, routes: Settings | Pods) -> Seen:
        """See `Routes`."""
        self._reach()
        return self.seen

    async def set_weight(self, routes: Settings | Pods, weight: int) -> None:
        """See `Routes`."""
        self._reach()
        self.set.append(weight)
        self.seen = replace(self.seen, weight=weight)

    async def close(self) -> None:
        """See `Routes`."""

    def _reach(self) -> None:
        if self.away:
            raise NotReady(self.away)
