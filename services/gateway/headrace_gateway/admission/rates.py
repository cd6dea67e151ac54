"""Requests and tokens a minute, by the generic cell rate algorithm (ITU-T I.371): one number a bucket."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from headrace_kit.errors import Busy

_MINUTE_S = 60.0
TEAM, KEY = "your team has", "this key has"
"""How callers read of whose limit it is."""


class PerMinute(Protocol):
    """Limits of a tenant or key; None: there is none."""

    @property
    def requests_per_minute(self) -> int | None:
        """Requests a minute, over all replicas."""
        ...

    @property
    def tokens_per_minute(self) -> int | None:
        """Tokens a minute, over all replicas."""
        ...


class Meter(Protocol):
    """What a request is counted by."""

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds that never run backwards."""
        ...

    @property
    def requests(self) -> Bucket | None:
        """The bucket of requests that is nearer to its end; None where there is none."""
        ...

    @property
    def tokens(self) -> Bucket | None:
        """The same of tokens."""
        ...

    def take_tokens(self, count: int) -> None:
        """Count what a request is likely to use. Raises Busy; `retry_after_s` is when it would not."""
        ...

    def settle(self, counted: int, used: int) -> None:
        """A request has left: it was counted with so many tokens, and has used so many."""
        ...


class Bucket:
    """Refills all the time, and holds one minute's worth.

    Args:
        per_minute: what may be taken in a minute.
    """

    __slots__ = ("_full_at", "_unit_s", "per_minute", "share")

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self.share = 1.0
        """This replica's part of the rate, and of what the bucket holds."""
        self._full_at = 0.0
        self._unit_s = _MINUTE_S / per_minute
        """Seconds in which one is refilled."""

    def take_part(self, share: float, now: float) -> None:
        """Have another part of the rate from now on. What is in the bucket, or owed, stays as it is, and none is added:
        buckets of all replicas together let through what one would, however the parts change."""
        owed_s = max(0.0, self._full_at - now)
        there = (_MINUTE_S - owed_s) / self._unit_s
        self.share, self._unit_s = share, _MINUTE_S / (self.per_minute * share)
        self._full_at = now + max(0.0, _MINUTE_S - there * self._unit_s)

    def take(self, count: float, now: float) -> float:
        """Take so many, or none: returns 0, else the seconds after which they are there.

        More than the bucket holds is taken when it is full, and owed from then on: over time no more is taken than is
        refilled.
        """
        cost = count * self._unit_s
        full_at = self._full_at if self._full_at > now else now
        wait = full_at + (cost if cost < _MINUTE_S else _MINUTE_S) - now - _MINUTE_S
        # An empty bucket of one holds exactly one: rounding must not make it less.
        if wait > 1e-9:
            return wait
        self._full_at = full_at + cost
        return 0.0

    def correct(self, count: float, now: float) -> None:
        """So many more were used than taken; fewer, if it is negative. It may leave the bucket owing some."""
        self._full_at = max(self._full_at, now) + count * self._unit_s

    def left(self, now: float) -> int:
        """What can be taken now."""
        return self.state(now)[0]

    def state(self, now: float) -> tuple[int, float]:
        """What can be taken now, and the seconds until it is full."""
        full_in = self._full_at - now
        if full_in <= 0:
            return int(_MINUTE_S / self._unit_s + 1e-6), 0.0
        left = int((_MINUTE_S - full_in) / self._unit_s + 1e-6)
        return (left if left > 0 else 0), full_in


class Rates:
    """The buckets of one tenant, or of one key."""

    __slots__ = ("_said", "asked", "clock", "limits", "requests", "tokens")

    def __init__(self, limits: PerMinute, clock: Callable[[], float], said: str = TEAM) -> None:
        self.limits, self.clock, self._said = limits, clock, said
        self.asked = 0
        """Requests that came, refused ones too."""
        self.requests = Bucket(limits.requests_per_minute) if limits.requests_per_minute else None
        self.tokens = Bucket(limits.tokens_per_minute) if limits.tokens_per_minute else None

    def enter(self) -> None:
        """Count a request.

        Raises:
            Busy: it comes too early; `retry_after_s` is when it would not.
        """
        self.asked += 1
        if self.requests is not None and (wait := self.requests.take(1, self.clock())):
            raise Busy(
                f"{self._said} had its {self.requests.per_minute} requests a minute; try again in {_seconds(wait)}",
                code="rate_limit_exceeded",
                retry_after_s=wait,
            )

    def take_tokens(self, count: int) -> None:
        """Count what a request is likely to use. Raises Busy as `enter`."""
        if self.tokens is not None and (wait := self.tokens.take(count, self.clock())):
            raise Busy(
                f"{self._said} had its {self.tokens.per_minute} tokens a minute, and this request may use {count}; "
                f"try again in {_seconds(wait)}",
                code="rate_limit_exceeded",
                retry_after_s=wait,
            )

    def settle(self, counted: int, used: int) -> None:
        """A request has left: it was counted with so many tokens, and has used so many."""
        if self.tokens is not None and used != counted:
            self.tokens.correct(used - counted, self.clock())

    def take_back(self) -> None:
        """A request that was counted did not come in."""
        if self.requests is not None:
            self.requests.correct(-1, self.clock())


class Both:
    """A key's buckets and its team's: what is taken from one is taken from the other, or from neither."""

    __slots__ = ("_key", "_team", "clock")

    def __init__(self, key: Rates, team: Rates) -> None:
        self._key, self._team, self.clock = key, team, key.clock

    @property
    def requests(self) -> Bucket | None:
        """See `Meter`."""
        return _scarcer(self._key.requests, self._team.requests, self.clock())

    @property
    def tokens(self) -> Bucket | None:
        """See `Meter`."""
        return _scarcer(self._key.tokens, self._team.tokens, self.clock())

    def take_tokens(self, count: int) -> None:
        """See `Meter`."""
        self._key.take_tokens(count)
        try:
            self._team.take_tokens(count)
        except Busy:
            self._key.settle(count, 0)
            raise

    def settle(self, counted: int, used: int) -> None:
        """See `Meter`."""
        self._key.settle(counted, used)
        self._team.settle(counted, used)


def _scarcer(one: Bucket | None, other: Bucket | None, now: float) -> Bucket | None:
    if one is None or other is None:
        return one or other
    return one if one.left(now) <= other.left(now) else other


class RateBook:
    """Buckets by tenant, and of keys that have limits of their own.

    Args:
        clock: seconds that never run backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.replicas = 1
        """How many gateways there are."""
        self._rates: dict[str, Rates] = {}

    def enter(self, tenant: str, limits: PerMinute, said: str = TEAM) -> Rates | None:
        """Count a request; returns the tenant's buckets, None where it has no limits. Raises as `Rates.enter`."""
        rates = self._rates.get(tenant)
        if rates is None or rates.limits is not limits:
            rates = self._changed(tenant, rates, limits, said)
        if rates is not None:
            rates.enter()
        return rates

    def enter_by_key(self, key_id: str, own: PerMinute, tenant: str, limits: PerMinute) -> Meter | None:
        """Count a request of a key with limits of its own, as `enter`; not one that its team may not make."""
        of_key = self.enter(f"key/{key_id}", own, KEY)
        try:
            of_team = self.enter(tenant, limits)
        except Busy:
            if of_key is not None:
                of_key.take_back()
            raise
        if of_key is None or of_team is None:
            return of_key or of_team
        return Both(of_key, of_team)

    def all(self) -> dict[str, Rates]:
        """Buckets by tenant, and by `key/` and the key's id."""
        return self._rates

    def _changed(self, tenant: str, old: Rates | None, limits: PerMinute, said: str) -> Rates | None:
        """Buckets under new limits; one whose limit is as before goes on."""
        if limits.requests_per_minute is None and limits.tokens_per_minute is None:
            self._rates.pop(tenant, None)
            return None
        new = Rates(limits, self.clock, said)
        for bucket in filter(None, (new.requests, new.tokens)):
            bucket.take_part(1 / self.replicas, self.clock())
        if old is not None:
            new.asked = old.asked
            if old.requests is not None and old.requests.per_minute == limits.requests_per_minute:
                new.requests = old.requests
            if old.tokens is not None and old.tokens.per_minute == limits.tokens_per_minute:
                new.tokens = old.tokens
        self._rates[tenant] = new
        return new


def _seconds(wait: float) -> str:
    return f"{wait:.0f} s" if wait >= 10 else f"{max(wait, 0.01):.2f} s"
