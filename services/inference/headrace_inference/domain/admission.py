"""The bounded, fair queue in front of a deployment's engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from headrace_inference.domain.fair_queue import Entry, FairQueue
from headrace_kit.errors import Busy, DeadlineExceeded, HeadraceError, NotReady

_FORGET = 0.9
"""Weight that all earlier requests keep in the measured rate when one more ends."""

_LEAST_RETRY_S = 0.1


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request asks of the queue.

    Attributes:
        tenant: whose it is; tenants share the engine fairly.
        cost: estimated tokens, prompt and answer, at least 1.
        slots: places in the engine that it needs: its choices, or its rows.
        priority: a higher one is served first.
        deadline: on the queue's clock; None: it waits for ever.
    """

    tenant: str = ""
    cost: int = 1
    slots: int = 1
    priority: int = 0
    deadline: float | None = None


class Admission:
    """Lets requests into the engine while it has slots; further ones wait, see `FairQueue` for the order.

    A request that needs more slots than are free holds up those behind it, so that it cannot be passed by for ever.

    Args:
        name: the deployment, for messages.
        slots: places in the engine; a request that needs more than there are takes all.
        limit: requests in the engine and waiting. When that many are there, the tenant with most queued tokens
            (lowest priority first) loses its newest request.
        clock: seconds, never running backwards; the event loop's.
        refused: told why, with each request that is refused: `queue_full`, `displaced`, `deadline`, `draining` or
            `asleep`.
    """

    def __init__(
        self,
        name: str,
        slots: int,
        limit: int,
        clock: Callable[[], float] = time.monotonic,
        refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._name = name
        self.slots = slots
        self._limit = limit
        self._clock = clock
        self._refused = refused
        self._queue: FairQueue[Slot] = FairQueue()
        self._idle = asyncio.Event()
        self._idle.set()
        # Of those in the engine: costs, and times of entry, each weighted by the slots held.
        self._costs = 0
        self._entered = 0.0
        # Seconds that slots were held for, and tokens estimated, of requests that ended; older ones weigh less.
        self._held_s = 0.0
        self._held_tokens = 0.0
        self.running = 0
        self.used = 0
        self.draining = False
        self._wakes_in: Callable[[], float] | None = None

    def sleep(self, wakes_in: Callable[[], float]) -> None:
        """There is no engine: everybody waits from now on. `wakes_in` says for about how many seconds more."""
        self._wakes_in = wakes_in

    def wake(self) -> None:
        """There is an engine again."""
        self._wakes_in = None
        self.let_in()

    def give_up(self, error: Callable[[], HeadraceError]) -> None:
        """Refuse everybody who waits: what they wait for will not come."""
        while (entry := self._queue.head()) is not None:
            self._queue.remove(entry)
            entry.item.give_up(self._refusal("asleep", error()))
        self._settle()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    def resize(self, slots: int, limit: int) -> None:
        """Take new limits; what runs and waits is not touched."""
        self.slots, self._limit = slots, limit
        self.let_in()

    def slot(self, claim: Claim) -> Slot:
        """A place in the engine, to be held with `async with`.

        Entering raises:
            Busy: the queue is full, or the request could not start before its deadline; `retry_after_s` estimates
                when it could.
            DeadlineExceeded: its deadline passed while it waited.
            NotReady: the deployment is being unloaded.
        """
        return Slot(self, claim)

    def wait_s(self, claim: Claim = Claim()) -> float:
        """Seconds until such a request, coming now, would start, by what the last ones took; 0: at once, or unknown.
        While there is no engine: until there is one."""
        if self._wakes_in is not None:
            return self._wakes_in()
        if not self._held_tokens or (not self._queue and self.used + claim.slots <= self.slots):
            return 0.0
        per_token = self._held_s / self._held_tokens
        left = max(0.0, self._costs * per_token - (self.used * self._clock() - self._entered))
        ahead = self._queue.ahead_of(claim.tenant, claim.priority, claim.cost)
        return (left + ahead * per_token) / self.slots

    async def drained(self) -> None:
        """Return when nothing runs or waits."""
        await self._idle.wait()

    def let_in(self) -> None:
        """Give free slots to those whose turn it is."""
        if self._wakes_in is not None:
            return
        while (entry := self._queue.head()) is not None:
            # what needs more slots than there are enters alone
            if self.used and self.used + entry.slots > self.slots:
                return
            self._queue.take()
            entry.item.paid = entry.cost
            entry.item.enter()

    def admit(self, slot: Slot) -> Entry[Slot] | None:
        """Let `slot` in, or put it into the queue: then its entry there. Raises as `slot` says."""
        claim = slot.claim
        if self.draining:
            raise self._refusal("draining", NotReady(f"deployment {self._name!r} is draining", retry_after_s=1))
        if self._wakes_in is None and not self._queue and (not self.used or self.used + claim.slots <= self.slots):
            if self.running >= self._limit:
                raise self._full(claim, "queue_full")
            self._idle.clear()
            slot.enter()
            return None
        wait_s = self.wait_s(claim)
        if claim.deadline is not None and self._clock() + wait_s >= claim.deadline:
            raise self._refusal(
                "deadline" if self._wakes_in is None else "asleep",
                Busy(
                    f"deployment {self._name!r} could not start this before its deadline: "
                    f"the wait is about {wait_s:.1f} s",
                    retry_after_s=_advice(wait_s),
                ),
            )
        if self.running + self.waiting >= self._limit:
            displaced = self._queue.displaced_by(claim.tenant, claim.priority, claim.cost)
            if displaced is None:
                raise self._full(claim, "queue_full")
            self._queue.remove(displaced)
            displaced.item.give_up(self._full(displaced.item.claim, "displaced"))
        entry = Entry(slot, claim.tenant, claim.priority, claim.cost, claim.slots)
        self._idle.clear()
        self._queue.push(entry)
        self.let_in()
        return entry

    def expire(self, entry: Entry[Slot]) -> None:
        """The deadline of a request passed while it waited."""
        if entry.item.has_entered:
            return
        self.leave_queue(entry)
        entry.item.give_up(
            self._refusal("deadline", DeadlineExceeded("the deadline passed while the request waited for the engine"))
        )

    def leave_queue(self, entry: Entry[Slot]) -> None:
        """A request that waits goes."""
        self._queue.remove(entry)
        self.let_in()
        self._settle()

    def entered(self, claim: Claim, now: float) -> None:
        """A request took its slots."""
        self.running += 1
        self.used += claim.slots
        self._costs += claim.cost
        self._entered += claim.slots * now

    def left(self, claim: Claim, entered: float, excess: int) -> None:
        """A request gave its slots back; its tenant has `excess` tokens more to pay for (fewer: negative)."""
        self.running -= 1
        self.used -= claim.slots
        self._costs -= claim.cost
        self._entered = self._entered - claim.slots * entered if self.running else 0.0
        self._held_s = _FORGET * self._held_s + claim.slots * (self._clock() - entered)
        self._held_tokens = _FORGET * self._held_tokens + claim.cost
        if excess:
            self._queue.correct(claim.tenant, claim.priority, excess)
        self.let_in()
        self._settle()

    def now(self) -> float:
        """The clock."""
        return self._clock()

    def _settle(self) -> None:
        if not self.running and not self._queue:
            self._idle.set()

    def _full(self, claim: Claim, reason: str) -> HeadraceError:
        message = f"deployment {self._name!r} has {self._limit} requests in work, which is all it takes"
        return self._refusal(reason, Busy(message, retry_after_s=_advice(self.wait_s(claim))))

    def _refusal(self, reason: str, error: HeadraceError) -> HeadraceError:
        self._refused(reason)
        return error


class Slot:
    """A request's place in the engine: entering waits for it, leaving gives it back; a cancelled wait leaves the queue.

    Set `tokens` before leaving to what was really used: the tenant is charged for that instead of the estimate.
    """

    __slots__ = ("_admission", "_entered", "_turn", "claim", "paid", "tokens")

    def __init__(self, admission: Admission, claim: Claim) -> None:
        if claim.slots > admission.slots:
            claim = Claim(claim.tenant, claim.cost, admission.slots, claim.priority, claim.deadline)
        self.claim = claim
        self.tokens: int | None = None
        self.paid = 0  # what the queue took of the tenant's balance: nothing when there was no queue
        self._admission = admission
        self._entered: float | None = None
        self._turn: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Slot:
        entry = self._admission.admit(self)
        if entry is not None and self._entered is None:
            await self._wait(entry)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        self._leave()

    @property
    def has_entered(self) -> bool:
        """Whether the place is held."""
        return self._entered is not None

    def enter(self) -> None:
        """The admission's: the turn has come."""
        self._entered = self._admission.now()
        self._admission.entered(self.claim, self._entered)
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def give_up(self, error: Exception) -> None:
        """The admission's: the turn will not come."""
        if self._turn is not None and not self._turn.done():
            self._turn.set_exception(error)

    async def _wait(self, entry: Entry[Slot]) -> None:
        loop = asyncio.get_running_loop()
        self._turn = loop.create_future()
        timer = None
        if self.claim.deadline is not None:
            left_s = self.claim.deadline - self._admission.now()
            timer = loop.call_later(max(0.0, left_s), self._admission.expire, entry)
        try:
            await self._turn
        except BaseException:
            if self._entered is not None:
                self._leave()  # our turn came in the same moment: pass it on
            else:
                self._admission.leave_queue(entry)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _leave(self) -> None:
        if self._entered is not None:
            entered, self._entered = self._entered, None
            self._admission.left(self.claim, entered, 0 if self.tokens is None else self.tokens - self.paid)


def _advice(wait_s: float) -> float:
    return max(_LEAST_RETRY_S, round(wait_s, 1))
