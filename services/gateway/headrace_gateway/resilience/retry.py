"""What may be tried again, where, and after how long."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from headrace_gateway.cascade.review import Review
from headrace_gateway.context import RequestContext
from headrace_gateway.ports import Choice, Chooser, HungUp
from headrace_gateway.resilience.health import Health
from headrace_gateway.routing.plan import ModelPlan, Pool, Target
from headrace_kit.errors import Busy, HeadraceError, NotReady, Upstream
from headrace_protos.inference.v1.messages_pb2 import GenerateRequest

_FIRST_S, _MOST_S = 0.05, 1.0
_HUNG_UP = 2
"""So often a replica that is leaving may hang up on one request: with more tries it meets one that stays."""
_PATIENCE_S = 2.0
"""A deployment that wants more time than this before it is asked again is not."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one stage asks of its engine; `fallbacks` follow the tries in its own pool.

    `review` is where a cascade writes its verdict on the answer; None: whatever comes is given.
    """

    ctx: RequestContext
    stage: int
    pool: Pool
    attempts: int
    fallbacks: tuple[Pool, ...]
    review: Review | None = None

    @property
    def plan(self) -> ModelPlan:
        """The request's model."""
        assert self.ctx.plan is not None, "a model was selected before"
        return self.ctx.plan


@dataclass(frozen=True, slots=True)
class Try:
    """One try. `wait_s` is the pause before it, after an earlier one failed; `why` its deployment was chosen.

    `reason` is why it is made at all: empty for the first one, else `retry`, `fallback`, `hedge` or `continuation`.
    """

    number: int
    target: Target
    wait_s: float
    why: str
    reason: str = ""


class Tries:
    """The tries of one stage: its pool as often as its policy says, with backoff and jitter, then each fallback once.

    Args:
        chooser: picks a deployment of a pool.
        health: holds the model's retry budget, which further tries in the pool are taken from.
        work: the stage. A full deployment does not count among its attempts, nor do two replicas that hung up.
        request: what is asked; None for vectors and rankings.
    """

    def __init__(self, chooser: Chooser, health: Health, work: Work, request: GenerateRequest | None) -> None:
        self._chooser, self._health, self._work, self._request = chooser, health, work, request
        self._number = 0
        self._tried: list[Target] = []
        self._full: list[Target] = []
        self._hung_up = 0
        self._begin()

    def first(self) -> Try:
        """The first try. Where no deployment is healthy, any is asked.

        Raises:
            NotReady: no deployment can be asked now.
        """
        self._health.request(self._work.plan)
        found = self._next()
        if found is None and not self._work.ctx.desperate:
            self._work.ctx.desperate = True
            self._begin()
            found = self._next()
        if found is None:
            raise NotReady("no deployment of this model can be asked now; try again shortly", retry_after_s=1)
        return found

    def after(self, failed: Try, error: BaseException) -> Try | None:
        """The try that follows one that failed with `error`; None to give up.

        A full deployment is not asked again, only another one. What the caller got wrong stays wrong everywhere.
        """
        if isinstance(error, Busy):
            self._full.append(failed.target)
            self._left += 1
            return self._next(further=True)
        if may_be_mended(error):
            asked_s = getattr(error, "retry_after_s", None) or 0.0
            if isinstance(error, HungUp) and self._hung_up < _HUNG_UP:
                self._hung_up += 1
                self._left += 1
            (self._full if asked_s > _PATIENCE_S else self._tried).append(failed.target)
            return self._next(further=True, pause=True, least_s=asked_s)
        return None

    def beside(self, running: Try) -> Try | None:
        """A hedge: a try on another deployment of the pool, at once; None where there is none, or no budget for it."""
        choice = self._choose(self._work.pool, running.target)
        if choice is None or choice.target in self._tried or not self._health.may_hedge(self._work.plan):
            return None
        self._tried.append(choice.target)
        return Try(self._count(), choice.target, 0.0, choice.why, "hedge")

    def behind(self, dead: Try, able: Callable[[Target], bool]) -> Try | None:
        """A try on a deployment that can go on with the answer of one that died in it; None where there is none.

        Like fallbacks these are not taken from the retry budget: each deployment is asked once.
        """
        self._full.append(dead.target)
        for pool in (self._work.pool, *self._work.fallbacks):
            choice = self._choose(pool, *(target for target in pool.targets if not able(target)))
            if choice is not None:
                return Try(self._count(), choice.target, 0.0, choice.why, "continuation")
        return None

    def _begin(self) -> None:
        work = self._work
        self._pools = [(work.pool, work.attempts), *((fallback, 1) for fallback in work.fallbacks)]
        self._left = work.attempts
        self._reason = ""

    def _next(self, *, further: bool = False, pause: bool = False, least_s: float = 0.0) -> Try | None:
        """The next try there is; within the stage's pool a `further` one is taken from the retry budget."""
        while self._pools:
            pool, _ = self._pools[0]
            choice = self._choose(pool) if self._left else None
            if choice is not None:
                wait_s = _pause_s(self._number) if pause else 0.0
                if choice.target in self._tried:
                    wait_s = max(wait_s, least_s)
                in_time = not wait_s or not self._work.ctx.expired(wait_s)
                if in_time and (self._reason == "fallback" or not further or self._health.may_retry(self._work.plan)):
                    self._left -= 1
                    return Try(
                        self._count(), choice.target, wait_s, choice.why, self._reason or ("retry" if further else "")
                    )
            del self._pools[0]
            self._left = self._pools[0][1] if self._pools else 0
            self._reason = "fallback"
            pause = False
        return None

    def _choose(self, pool: Pool, *barred: Target) -> Choice | None:
        exclude = (*self._full, *barred) if barred else self._full
        return self._chooser.choose(self._work.ctx, pool, self._request, self._tried, exclude)

    def _count(self) -> int:
        number, self._number = self._number, self._number + 1
        return number


def may_be_mended(error: BaseException) -> bool:
    """Whether the same request may go well elsewhere, or later."""
    return isinstance(error, Busy | Upstream | NotReady) or type(error) is HeadraceError


def _pause_s(number: int) -> float:
    longest = min(_MOST_S, _FIRST_S * 2 ** max(0, number - 1))
    return random.uniform(longest / 2, longest) if number else 0.0  # noqa: S311
