"""The first stage: every request of every transport comes in here, and leaves here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from headrace_gateway.admission.identity import acting_for, identity_of
from headrace_gateway.admission.keys import ApiKey, UnknownKey
from headrace_gateway.admission.limits import InFlight
from headrace_gateway.admission.overload import LoopLag
from headrace_gateway.admission.rates import KEY, TEAM, RateBook
from headrace_gateway.arms.canary import Canary
from headrace_gateway.budgets.book import Book
from headrace_gateway.context import Arrival, RequestContext, error_code, open_request
from headrace_gateway.observing.metrics import Metrics
from headrace_gateway.routing.table import Table
from headrace_kit.errors import ClientGone

_GONE = ClientGone("the caller went away")


class Visit:
    """One request between the door's two sides. `leave` it exactly once.

    Attributes:
        stream_error: how a stream ended whose status had been sent; None when it ended well.
    """

    def __init__(self, ctx: RequestContext, left: Callable[[Visit, int, BaseException | None], None]) -> None:
        self.ctx = ctx
        self.key: ApiKey | None = None
        self.inside = False
        self.stream_error: BaseException | None = _GONE
        self.places: tuple[str, ...] = ()
        """Whose places it has taken."""
        self._left = left
        self._done = False

    def stream_ended(self, error: BaseException | None) -> None:
        """A stream whose status had been sent was written to its end: well, or with an error as its last words."""
        self.stream_error = error

    async def stream_closed(self) -> None:
        """Nothing more is sent of a stream. One that was not written to its end was left by its reader."""
        self.leave(200, self.stream_error)

    def hand_on(self) -> Visit:
        """The same visit for a task that serves it to its end, whatever becomes of its caller: leaving this one changes
        nothing from here on."""
        served = Visit(self.ctx, self._left)
        served.key, served.inside, served.places = self.key, self.inside, self.places
        self._done = True
        return served

    def leave(self, status: int, error: BaseException | None = None) -> None:
        """The last byte is out, or the request failed with `error`. Later calls change nothing."""
        if not self._done:
            self._done = True
            self._left(self, status, error)


class Callers(Protocol):
    """Who may come in."""

    def authenticate(self, authorization: str) -> ApiKey:
        """The key behind an `authorization` header. Raises Unauthenticated; UnknownKey where `learn` may help."""
        ...

    async def learn(self) -> None:
        """See whether there are new ones."""
        ...


class Door:
    """Lets requests in by key and limits, and tells the recorder about those that leave.

    Args:
        keys: who may come in.
        in_flight: how many are in.
        lag: whether the event loop keeps up.
        table: the active snapshot.
        max_in_flight: the limit at this moment.
        metrics: counts.
        book: the money of tenants.
        rates: what they may do in a minute.
        record: takes the context of every request that left, with HTTP status and error code.
        canary: the arm that this process is on for a request, where a new release of it is tried.
    """

    def __init__(
        self,
        keys: Callers,
        in_flight: InFlight,
        lag: LoopLag,
        table: Callable[[], Table],
        max_in_flight: Callable[[], int],
        metrics: Metrics,
        book: Book,
        rates: RateBook,
        record: Callable[[RequestContext, int, str], None],
        canary: Callable[[Arrival], Canary | None] = lambda _: None,
    ) -> None:
        self._keys, self._canary = keys, canary
        self._book, self._rates = book, rates
        self.in_flight = in_flight
        self._lag = lag
        self._table = table
        self._max_in_flight = max_in_flight
        self._metrics = metrics
        self._record = record
        metrics.in_flight.set_function(lambda: in_flight.total)

    def open(self, arrival: Arrival) -> Visit:
        """Give an arriving request its ids; nothing is checked yet."""
        ctx = open_request(arrival, self._table())
        ctx.canary = self._canary(arrival)
        return Visit(ctx, self._leave)

    async def admit(self, visit: Visit, task: asyncio.Task[Any] | None = None) -> None:
        """Check key, identity and limits. `task` serves the request, and ends with it.

        Raises:
            Unauthenticated: no usable key.
            Forbidden: a person or another team was named without the scope for it.
            Busy: a limit is reached.
            NotReady: draining.
        """
        ctx = visit.ctx
        with ctx.stage("admit"):
            self.in_flight.enter(self._max_in_flight())
            visit.inside = True
            self._lag.check()
            if task is not None:
                self.in_flight.serves(task)
            try:
                key = self._keys.authenticate(ctx.arrival.authorization)
            except UnknownKey:
                await self._keys.learn()
                key = self._keys.authenticate(ctx.arrival.authorization)
            visit.key, ctx.key_name = key, key.name
            # Known even if the next line refuses: the trace of a refusal belongs to the tenant.
            ctx.identity = identity_of(key)
            if ctx.arrival.tenant:
                key = visit.key = acting_for(key, ctx.arrival.tenant)
                ctx.identity = identity_of(key)
            if ctx.arrival.user or ctx.arrival.groups:
                ctx.identity = identity_of(key, ctx.arrival.user, ctx.arrival.groups)
            tenant = ctx.identity.tenant
            ctx.sample_again()
            limits = ctx.table.tenant(tenant).limits
            self.in_flight.take_place(tenant, limits.concurrent_requests, TEAM)
            visit.places = (tenant,)
            own = key.limits
            if own is None:
                ctx.rates = self._rates.enter(tenant, limits)
            else:
                if own.concurrent_requests is not None:
                    self.in_flight.take_place(place := f"key/{key.id}", own.concurrent_requests, KEY)
                    visit.places = (tenant, place)
                ctx.rates = self._rates.enter_by_key(key.id, own, tenant, limits)
            ctx.purse = self._book.open(tenant, ctx.started_ns)

    def assert_identity(self, visit: Visit, user: str, groups: tuple[str, ...]) -> None:
        """Take the person named in a request's body; headers that named one already give way. Raises as `admit`."""
        if (user or groups) and visit.key is not None:
            visit.ctx.identity = identity_of(visit.key, user, groups)

    def _leave(self, visit: Visit, status: int, error: BaseException | None) -> None:
        for place in visit.places:
            self.in_flight.give_back(place)
        if visit.inside:
            self.in_flight.leave()
        ctx = visit.ctx
        if ctx.purse is not None:
            ctx.purse.close()
            if ctx.rates is not None:
                ctx.rates.settle(ctx.purse.counted, ctx.purse.tokens)
        self._metrics.request(ctx, status)
        self._record(ctx, status, error_code(error) if error is not None else "")
