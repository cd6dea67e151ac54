"""Requests and tokens a minute, by the generic cell rate algorithm (ITU-T I.371): one number a bucket."""

from __future__ import annotations

import time
from collections.abc import Callable

from headrace_kit.config.tenants import Limits
from headrace_kit.errors import Busy

_MINUTE_S = 60.0


class Bucket:
    """Refills all the time, and holds one minute's worth.

    Args:
        per_minute: what may be taken in a minute.
    """

    __slots__ = ("_full_at", "_share", "_unit_s", "per_minute")

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._full_at = 0.0
        self.share = 1.0

    @property
    def share(self) -> float:
        """This replica's part of the rate."""
        return self._share

    @share.setter
    def share(self, part: float) -> None:
        self._share = part
        self._unit_s = _MINUTE_S / (self.per_minute * part)
        """Seconds in which one is refilled."""

    def take(self, count: float, now: float) -> float:
        """Take so many, or none: returns 0, else the seconds after which they are there.

        More than the bucket holds is taken when it is full.
        """
        cost = count * self._unit_s
        if cost > _MINUTE_S:
            cost = _MINUTE_S
        full_at = (self._full_at if self._full_at > now else now) + cost
        wait = full_at - now - _MINUTE_S
        # An empty bucket of one holds exactly one: rounding must not make it less.
        if wait > 1e-9:
            return wait
        self._full_at = full_at
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

    __slots__ = ("asked", "clock", "limits", "requests", "tokens")

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self.limits, self.clock = limits, clock
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
                f"your team has had its {self.requests.per_minute} requests a minute; try again in {_seconds(wait)}",
                code="rate_limit_exceeded",
                retry_after_s=wait,
            )

    def take_tokens(self, count: int) -> None:
        """Count what a request is likely to use. Raises Busy as `enter`."""
        if self.tokens is not None and (wait := self.tokens.take(count, self.clock())):
            raise Busy(
                f"your team has had its {self.tokens.per_minute} tokens a minute, and this request may use {count}; "
                f"try again in {_seconds(wait)}",
                code="rate_limit_exceeded",
                retry_after_s=wait,
            )

    def settle(self, counted: int, used: int) -> None:
        """A request has left: it was counted with so many tokens, and has used so many."""
        if self.tokens is not None and used != counted:
            self.tokens.correct(used - counted, self.clock())


class RateBook:
    """Buckets by tenant.

    Args:
        clock: seconds that never run backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.replicas = 1
        """How many gateways there are."""
        self._rates: dict[str, Rates] = {}

    def enter(self, tenant: str, limits: Limits) -> Rates | None:
        """Count a request; returns the tenant's buckets, None where it has no limits. Raises as `Rates.enter`."""
        rates = self._rates.get(tenant)
        if rates is None or rates.limits is not limits:
            rates = self._changed(tenant, rates, limits)
        if rates is not None:
            rates.enter()
        return rates

    def all(self) -> dict[str, Rates]:
        """Buckets by tenant."""
        return self._rates

    def _changed(self, tenant: str, old: Rates | None, limits: Limits) -> Rates | None:
        """Buckets under new limits; one whose limit is as before goes on."""
        if limits.requests_per_minute is None and limits.tokens_per_minute is None:
            self._rates.pop(tenant, None)
            return None
        new = Rates(limits, self.clock)
        for bucket in filter(None, (new.requests, new.tokens)):
            bucket.share = 1 / self.replicas
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
