"""How busy deployments are: what inference last said, and what this process has seen and done since."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from headrace_gateway.resilience.attempt import Attempt
from headrace_protos.inference.v1.messages_pb2 import DeploymentLoad

FRESH_S = 5.0
"""A report that is older says nothing any more."""
WANTED_S = 60.0
"""Nobody asks inference about a deployment that nothing was chosen by for so long."""

AGED_S = 10.0
"""A mean that had nothing new for so long says little: what comes next counts for more, and it is looked at again."""

_WEIGHT = 0.2
_MOST_OTHERS = 4.0
_USUAL_TOKENS = 200.0


@dataclass(frozen=True, slots=True)
class Report:
    """What inference said of a deployment, and how many requests this process had there then (`own`)."""

    at: float
    own: int
    there: int
    slots: int
    ready: bool
    wait_ms: float
    first_token_ms: float
    output_token_ms: float


class Known:
    """One deployment. Times are milliseconds and weighted means over the last answers; None: there was none yet.

    `prompt_ms` is the time to the first token without the wait before it, `token_ms` that per token after the first,
    `whole_ms` that per token of answers that came in one piece. `learned` is when one of them was last changed.
    """

    __slots__ = ("in_flight", "learned", "output_tokens", "prompt_ms", "report", "token_ms", "whole_ms")

    def __init__(self) -> None:
        self.in_flight = 0
        self.learned = 0.0
        self.report: Report | None = None
        self.prompt_ms: float | None = None
        self.token_ms: float | None = None
        self.whole_ms: float | None = None
        self.output_tokens: float | None = None


class Pace(NamedTuple):
    """How fast a deployment answers: milliseconds to the first token without waiting, and per token after it."""

    prompt_ms: float
    token_ms: float


class LoadBook:
    """Estimates by deployment. Fulfils `AttemptListener`.

    Args:
        clock: seconds, never running backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, Known] = {}
        self._waits: dict[int, float] = {}
        self._wanted = -WANTED_S

    @property
    def wanted(self) -> bool:
        """Whether anybody has used an estimate lately, so that reports are worth their price."""
        return self._clock() - self._wanted < WANTED_S

    def take(self, loads: Iterable[DeploymentLoad]) -> None:
        """A report of inference has come."""
        now = self._clock()
        for load in loads:
            known = self._of(load.deployment)
            known.report = Report(
                at=now,
                own=known.in_flight,
                there=load.waiting + load.running,
                slots=load.slots,
                ready=load.ready,
                wait_ms=load.wait_ms,
                first_token_ms=load.first_token_ms,
                output_token_ms=load.output_token_ms,
            )

    def began(self, attempt: Attempt) -> None:
        """See `AttemptListener`."""
        name = attempt.target.name
        known = self._of(name)
        if known.report is not None:
            self._waits[id(attempt)] = self.wait_ms(name)
        known.in_flight += 1

    def ended(self, attempt: Attempt) -> None:
        """See `AttemptListener`."""
        known = self._of(attempt.target.name)
        known.in_flight -= 1
        wait_ms = self._waits.pop(id(attempt), 0.0)
        tokens = attempt.usage.output_tokens
        if attempt.error is not None or attempt.first_token_s is None or not tokens:
            return
        now = self._clock()
        weight = max(_WEIGHT, 1 - math.exp((known.learned - now) / AGED_S))
        known.learned = now
        known.output_tokens = _mean(known.output_tokens, tokens, weight)
        first_ms, total_ms = attempt.first_token_s * 1000, attempt.elapsed_s * 1000
        if attempt.pieces == 1 and tokens > 1:
            known.whole_ms = _mean(known.whole_ms, max(0.0, total_ms - wait_ms) / tokens, weight)
            return
        known.prompt_ms = _mean(known.prompt_ms, max(0.0, first_ms - wait_ms), weight)
        if tokens > 1:
            known.token_ms = _mean(known.token_ms, (total_ms - first_ms) / (tokens - 1), weight)

    def in_flight(self, name: str) -> float:
        """Requests that are probably there now, those of other gateways included.

        What a report said, and what this process has sent or got back since; it is supposed that the other gateways
        have done the same, each in proportion, at most four times as much as this one.
        """
        known = self._of(name)
        return _there(known, self._fresh(known))

    def slots(self, name: str) -> int:
        """Requests that it runs at once; 0 where that is not known."""
        report = self._of(name).report
        return report.slots if report is not None else 0

    def ready(self, name: str) -> bool:
        """False where inference says that it is not loaded now."""
        report = self._fresh(self._of(name))
        return report is None or report.ready

    def wait_ms(self, name: str) -> float:
        """Estimated wait of a request that comes now, before its prompt is read; 0 where nothing tells of a queue."""
        known = self._of(name)
        if known.report is None:
            return 0.0
        slots, report = known.report.slots, self._fresh(known)
        ahead = _there(known, report) - slots + 1
        if not slots or ahead <= 0:
            return 0.0
        if report is not None and report.wait_ms > 0:
            return ahead * report.wait_ms / max(1, report.there - slots + 1)
        pace = _pace(known)
        if pace is None:
            return 0.0
        return ahead * (pace.prompt_ms + pace.token_ms * (known.output_tokens or _USUAL_TOKENS)) / slots

    def pace(self, name: str) -> Pace | None:
        """How fast it answers, as seen here, else as inference says; None where nobody knows."""
        return _pace(self._of(name))

    def output_tokens(self, name: str, at_most: int) -> float:
        """Tokens that an answer there probably has; `at_most` 0 is no limit."""
        usual = self._of(name).output_tokens or _USUAL_TOKENS
        return min(usual, at_most) if at_most else usual

    def finish_ms(self, name: str, at_most_tokens: int) -> float | None:
        """Estimated time until an answer that is asked for now is whole; None where nobody knows the pace."""
        pace = self.pace(name)
        if pace is None:
            return None
        return self.wait_ms(name) + pace.prompt_ms + pace.token_ms * self.output_tokens(name, at_most_tokens)

    def aged(self, name: str) -> bool:
        """Whether nothing was learned of it lately, and nothing is known to be in its way."""
        known = self._of(name)
        return not known.in_flight and self._clock() - known.learned > AGED_S and not self.wait_ms(name)

    def use(self) -> None:
        """Somebody chooses by these estimates, so reports are wanted."""
        self._wanted = self._clock()

    def _of(self, name: str) -> Known:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = Known()
        return known

    def _fresh(self, known: Known) -> Report | None:
        report = known.report
        return report if report is not None and self._clock() - report.at <= FRESH_S else None


def _there(known: Known, report: Report | None) -> float:
    if report is None:
        return known.in_flight
    others = min(_MOST_OTHERS, max(1.0, report.there / report.own)) if report.own else 1.0
    return max(known.in_flight, report.there + (known.in_flight - report.own) * others)


def _pace(known: Known) -> Pace | None:
    if known.prompt_ms is not None:
        return Pace(known.prompt_ms, known.token_ms or 0.0)
    report = known.report
    if report is not None and report.first_token_ms:
        return Pace(report.first_token_ms, report.output_token_ms)
    return Pace(0.0, known.whole_ms) if known.whole_ms is not None else None


def _mean(before: float | None, value: float, weight: float) -> float:
    return value if before is None else before + weight * (value - before)
