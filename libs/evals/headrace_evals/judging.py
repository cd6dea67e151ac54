"""A model that compares two answers, asked twice with their places swapped, and checked against people."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from headrace_evals import comparing
from headrace_evals.comparing import NoVerdict, Place, Preference
from headrace_evals.ports import Arm, AskFailed, Platform
from headrace_evals.statistics import binomial_interval
from headrace_evals.suite import Judge, Label, Options, number

_FORM = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": comparing.SCHEMA}}
_OPTIONS = Options(temperature=0.0, max_tokens=comparing.MOST_TOKENS, seed=comparing.SEED, response_format=dict(_FORM))
PREFERS = {"a": 0.0, "b": 1.0, "tie": 0.5}
"""A label as `Preference.second`."""


class Calibration(Struct, frozen=True):
    """How often a judge agreed with people, with a 95% confidence interval.

    `trusted` says whether the lower end is high enough.
    """

    n: int
    agreement: float
    low: float
    high: float
    needed: float
    trusted: bool


async def prefer(judge: Judge, platform: Platform, question: str, first: str, second: str) -> Preference:
    """Compare two answers to a question.

    Raises:
        AskFailed: the judge gave no verdict that can be read.
        Away: the platform cannot be asked.
    """
    if comparing.same(first, second):
        return Preference(0.5, True)
    straight, swapped = comparing.questions(judge.criteria, question, first, second)
    return comparing.settle(await _ask(judge, platform, straight), await _ask(judge, platform, swapped))


async def calibrate(judge: Judge, platform: Platform, labels: Sequence[Label]) -> Calibration:
    """Let a judge make the comparisons that people made. Raises as `prefer`; one verdict that cannot be read is a
    disagreement."""
    agreed = 0
    for label in labels:
        try:
            found = (await prefer(judge, platform, label.input, label.a, label.b)).second
        except AskFailed:
            continue
        agreed += found == PREFERS[label.prefers]
    low, high = binomial_interval(agreed, len(labels), 0.05)
    needed = number(judge.agreement, "agreement")
    return Calibration(len(labels), agreed / len(labels), low, high, needed, low >= needed)


async def _ask(judge: Judge, platform: Platform, text: str) -> Place:
    answer = await platform.ask(Arm("judge", judge.model), [{"role": "user", "content": text}], _OPTIONS)
    try:
        return comparing.read(answer.text)
    except NoVerdict as error:
        raise AskFailed("no_verdict", f"{error}: {judge.model}") from error
