"""What may be tried again, where, and after how long."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from headrace_gateway.routing.plan import Target
from headrace_kit.errors import Busy, HeadraceError, NotReady, Upstream

_FIRST_S, _MOST_S = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Try:
    """One entry of the order of tries. `wait_s` is the pause before it, after an earlier one failed."""

    number: int
    target: Target
    wait_s: float


def order(target: Target, attempts: int, fallbacks: tuple[Target, ...]) -> list[Try]:
    """The deployment as often as its policy says, with backoff and jitter, then each fallback once, at once."""
    tries = [Try(number, target, _pause_s(number)) for number in range(attempts)]
    return tries + [Try(attempts + place, fallback, 0.0) for place, fallback in enumerate(fallbacks)]


def _pause_s(number: int) -> float:
    longest = min(_MOST_S, _FIRST_S * 2 ** max(0, number - 1))
    return random.uniform(longest / 2, longest) if number else 0.0  # noqa: S311


def next_try(tries: Sequence[Try], place: int, error: BaseException) -> int | None:
    """The index of the try that follows one that failed with `error`; None to give up.

    A full deployment is not asked again, only another one. What the caller got wrong stays wrong everywhere.
    """
    if isinstance(error, Busy):
        full = tries[place].target
        return next((later for later in range(place + 1, len(tries)) if tries[later].target is not full), None)
    if isinstance(error, Upstream | NotReady) or type(error) is HeadraceError:
        return place + 1 if place + 1 < len(tries) else None
    return None
