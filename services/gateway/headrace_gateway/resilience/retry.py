"""What may be tried again, where, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass

from headrace_gateway.context import RequestContext
from headrace_gateway.ports import Chooser
from headrace_gateway.routing.plan import Pool, Target
from headrace_kit.errors import Busy, HeadraceError, NotReady, Upstream
from headrace_protos.inference.v1.messages_pb2 import GenerateRequest

_FIRST_S, _MOST_S = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Try:
    """One try. `wait_s` is the pause before it, after an earlier one failed; `why` its deployment was chosen."""

    number: int
    target: Target
    wait_s: float
    why: str


class Tries:
    """The tries of one stage: its pool as often as its policy says, with backoff and jitter, then each fallback once.

    Args:
        chooser: picks a deployment of a pool.
        ctx: the request.
        pool: the stage's deployments.
        attempts: most tries in the pool; full deployments do not count.
        fallbacks: where to go then, in this order, at once.
        request: what is asked; None for vectors and rankings.
    """

    def __init__(
        self,
        chooser: Chooser,
        ctx: RequestContext,
        pool: Pool,
        attempts: int,
        fallbacks: tuple[Pool, ...],
        request: GenerateRequest | None,
    ) -> None:
        self._chooser, self._ctx, self._request = chooser, ctx, request
        self._pools = [(pool, attempts), *((fallback, 1) for fallback in fallbacks)]
        self._left = attempts
        self._number = 0
        self._tried: list[Target] = []
        self._full: list[Target] = []

    def first(self) -> Try:
        """The first try.

        Raises:
            NotReady: no deployment can be asked now.
        """
        found = self._next(pause=False)
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
            return self._next(pause=False)
        if isinstance(error, Upstream | NotReady) or type(error) is HeadraceError:
            self._tried.append(failed.target)
            return self._next(pause=True)
        return None

    def _next(self, *, pause: bool) -> Try | None:
        while self._pools:
            if self._left:
                choice = self._chooser.choose(self._ctx, self._pools[0][0], self._request, self._tried, self._full)
                if choice is not None:
                    self._left -= 1
                    number, self._number = self._number, self._number + 1
                    return Try(number, choice.target, _pause_s(number) if pause else 0.0, choice.why)
            del self._pools[0]
            self._left = self._pools[0][1] if self._pools else 0
            pause = False
        return None


def _pause_s(number: int) -> float:
    longest = min(_MOST_S, _FIRST_S * 2 ** max(0, number - 1))
    return random.uniform(longest / 2, longest) if number else 0.0  # noqa: S311
