"""What gateways are told: the last known truth, for as long as it can be sure."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from headrace_kit.config.rollout_steps import Shadow
from headrace_rollout.domain.records import Record, Truth
from headrace_rollout.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Split:
    """A share of a model's sticky keys for its candidate, which is a JSON merge patch, a share of the baseline's
    requests that are copied to it, and a share of keys for a baseline as young as the candidate; all in 1/10000."""

    rollout_id: str
    model: str
    salt: str
    weight: int
    candidate_json: str
    shadow: int = 0
    limits: Shadow = field(default_factory=Shadow)
    fresh: int = 0
    fresh_json: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """All splits, and for how many milliseconds they hold."""

    lease_ms: int
    splits: tuple[Split, ...]
    version: int


class Grants:
    """Hands out the truth with a lease that counts from the moment it was read, not from the moment it is sent.

    So every gateway is on the truth of at most one lease ago, whatever fails between it and the store: when the store
    cannot be read, renewals carry what is left of the lease, and then there are none.
    """

    def __init__(
        self, lease_s: Callable[[], float], metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease_s = lease_s
        self._metrics = metrics
        self._clock = clock
        self._truth: Truth | None = None
        self._splits: tuple[Split, ...] = ()
        self._read_at = 0.0
        self._news = asyncio.Event()
        self._closed = False
        self.in_force: Callable[[Record], int] = lambda record: record.weight
        """The weight that a rollout's outcomes are judged by, in 1/10000."""

    def sure(self) -> bool:
        """Whether the truth is known, and was read within a lease."""
        return self._truth is not None and self._left_s() > 0

    def learn(self, truth: Truth, read_at: float) -> None:
        """Take the truth as it was at `read_at`, on the clock; older ones than known are left aside."""
        if self._truth is not None and truth.version < self._truth.version:
            return
        splits = tuple(
            _split(record, self.in_force(record))
            for record in truth.records
            if record.weight or record.shadow or record.evaluates
        )
        known = self._truth is not None and truth.version == self._truth.version
        was_sure, changed = self.sure(), not known or splits != self._splits
        self._truth = truth
        self._read_at = max(self._read_at, read_at)
        if changed:
            self._splits = splits
            self._metrics.show((split.model, split.rollout_id, split.weight) for split in self._splits)
        if changed or not was_sure:
            self._tell()

    async def watch(self) -> AsyncIterator[Grant]:
        """Grants: the first at once, or as soon as there is one, then each change at once, and renewals in between.

        Ends when this process stops.
        """
        while not self._closed:
            news = self._news
            if self.sure():
                self._metrics.grants.inc()
                yield self.current()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lease_s() / 3):  # `wait_for` may swallow a cancellation in 3.11
                    await news.wait()

    def close(self) -> None:
        """End all watches."""
        self._closed = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def current(self) -> Grant:
        """The grant of this moment. Ask only while `sure`."""
        assert self._truth is not None
        return Grant(max(1, int(self._left_s() * 1000)), self._splits, self._truth.version)

    def _left_s(self) -> float:
        return self._read_at + self._lease_s() - self._clock()


def _split(record: Record, weight: int) -> Split:
    spec = record.spec
    fresh = spec.fresh_share(weight)
    return Split(
        record.id,
        record.model,
        record.salt,
        weight,
        _json(spec.candidate),
        record.shadow,
        spec.shadow,
        fresh,
        _json(spec.fresh_baseline) if fresh else "",
    )


def _json(patch: dict[str, Any] | None) -> str:
    return json.dumps(patch, sort_keys=True, separators=(",", ":"))
