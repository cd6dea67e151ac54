"""The checks of tier 2 and 3: in parallel within a tier, each within its time, ended by the first that withholds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from headrace_detectors import Extra
from headrace_guardrails.domain.budget import BudgetSpent
from headrace_guardrails.metrics import Metrics
from headrace_guardrails.ports import Costly, Failure, Found, Subject
from headrace_kit.errors import HeadraceError

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Looked:
    """What a tier said: findings with what their masks need, and the checks that failed."""

    extras: list[Extra] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def withholds(self) -> bool:
        """Whether the text stays here."""
        return any(one.finding.action.withholds for one in self.found) or self.closed

    @property
    def closed(self) -> bool:
        """Whether a check failed without which nothing passes."""
        return any(failure.closed for failure in self.failures)

    def add(self, other: Looked) -> None:
        """Take in what another tier said."""
        self.extras += other.extras
        self.found += other.found
        self.failures += other.failures


async def look(checks: Sequence[Costly], text: str, masked: str, subject: Subject, metrics: Metrics) -> Looked:
    """Run checks on a text, tier by tier.

    Args:
        checks: of tier 2 and 3.
        text: what is judged.
        masked: the same after the masks of tier 1, for checks that send it elsewhere; their spans are the whole text.
        subject: whose text it is.
        metrics: what is counted.
    """
    all_of_it = Looked()
    for tier in (2, 3):
        of_tier = [check for check in checks if check.tier == tier]
        if of_tier:
            all_of_it.add(await _tier(of_tier, text, masked, subject, metrics))
        if all_of_it.withholds:
            break
    return all_of_it


async def _tier(checks: Sequence[Costly], text: str, masked: str, subject: Subject, metrics: Metrics) -> Looked:
    looked = Looked()
    running = {asyncio.create_task(_one(check, text, masked, subject, metrics)) for check in checks}
    try:
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                looked.add(task.result())
            if looked.withholds:
                break
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return looked


async def _one(check: Costly, text: str, masked: str, subject: Subject, metrics: Metrics) -> Looked:
    """One check. Whatever goes wrong in it is a failure with a reason, never an exception."""
    with metrics.tier_seconds.labels(check.name).time():
        try:
            async with asyncio.timeout(check.timeout_s):
                extras = await check.judge.judge(masked if check.masked else text, subject)
        except TimeoutError:
            return _failed(check, "timeout", metrics)
        except BudgetSpent:
            return _failed(check, "budget", metrics)
        except HeadraceError as error:
            _log.warning("the check %s gave no verdict: %s", check.name, error.message)
            return _failed(check, "unavailable", metrics)
        except Exception:
            # The message of a foreign error may quote the text: only its place is logged.
            _log.exception("the check %s failed", check.name, exc_info=False)
            return _failed(check, "error", metrics)
    if check.masked:
        extras = [_over_all(extra, len(text)) for extra in extras]
    version = check.judge.version
    return Looked(list(extras), [Found(extra.finding, version) for extra in extras])


def _over_all(extra: Extra, chars: int) -> Extra:
    return Extra(replace(extra.finding, start=0, end=chars), extra.identity)


def _failed(check: Costly, reason: str, metrics: Metrics) -> Looked:
    metrics.failures.labels(check.name, reason, "closed" if check.closed else "open").inc()
    return Looked(failures=[Failure(check.name, reason, check.closed)])
