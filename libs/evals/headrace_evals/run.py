"""Running a suite: each item is asked of all arms at about the same time, in turns, so that both have the same hour."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from headrace_evals import graders, judging
from headrace_evals.comparing import Preference
from headrace_evals.datasets import Item
from headrace_evals.judging import Calibration
from headrace_evals.ports import Answer, Arm, AskFailed, Memory, Platform
from headrace_evals.results import Result, Row, Scored
from headrace_evals.suite import Judge, Loaded, Similarity

Progress = Callable[[int, int], None]
"""Hears how many items of how many are done."""


class Forgetful:
    """`Memory` of a run that begins at its beginning."""

    rows: Mapping[str, Row] = {}

    async def keep(self, item_id: str, row: Row) -> None:
        """See `Memory`."""


async def run(
    loaded: Loaded,
    platform: Platform,
    arms: Sequence[Arm],
    progress: Progress = lambda _done, _all: None,
    memory: Memory | None = None,
) -> list[Result]:
    """Ask, and grade. With two arms the first is the baseline. What `memory` has is not asked again.

    Raises:
        SuiteInvalid: a grader cannot work.
        Away: the platform cannot be asked; nothing is known then.
    """
    for name, grader in loaded.suite.graders.items():
        graders.check(name, grader)
    calibrations = await _calibrations(loaded, platform)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    gate = asyncio.Semaphore(loaded.suite.concurrency)
    kept = memory or Forgetful()
    done = 0

    async def one(number: int, item: Item) -> Row:
        nonlocal done
        made = kept.rows.get(item.id)
        if made is None:
            async with gate:
                made = await _item(loaded, platform, arms, number, item)
                await kept.keep(item.id, made)
        done += 1
        progress(done, len(loaded.items))
        return made

    tasks = [asyncio.create_task(one(number, item)) for number, item in enumerate(loaded.items)]
    try:
        rows = await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    changed = sum(row.unsteady for row in rows)
    notes = [f"a judge changed its mind in {changed} comparisons when answers swapped places"] if changed else []
    return [
        Result(loaded.name, loaded.digest, arm, started, [row.scored[place] for row in rows], dict(calibrations), notes)
        for place, arm in enumerate(arms)
    ]


async def _calibrations(loaded: Loaded, platform: Platform) -> dict[str, Calibration]:
    return {
        name: await judging.calibrate(grader, platform, loaded.labels[name])
        for name, grader in loaded.suite.graders.items()
        if isinstance(grader, Judge) and loaded.labels[name]
    }


async def _item(loaded: Loaded, platform: Platform, arms: Sequence[Arm], number: int, item: Item) -> Row:
    """The item on each arm, and how often a judge changed its mind."""
    kept: list[list[tuple[Answer | None, str, dict[str, float]]]] = [[] for _ in arms]
    unsteady = 0
    for turn in range(loaded.suite.repeat):
        answers: dict[int, tuple[Answer | None, str]] = {}
        # In turns: who is asked second finds caches of engines warm.
        order = range(len(arms)) if (number + turn) % 2 == 0 else reversed(range(len(arms)))
        for place in order:
            answers[place] = await _asked(loaded, platform, arms[place], item)
        preferences, changed = await _judged(loaded, platform, item, [answers[place][0] for place in range(len(arms))])
        unsteady += changed
        for place in range(len(arms)):
            answer, error = answers[place]
            scores = await _scores(loaded, platform, item, answer)
            kept[place].append((answer, error, scores | preferences[place]))
    return Row([_summed(item, turns) for turns in kept], unsteady)


async def _asked(loaded: Loaded, platform: Platform, arm: Arm, item: Item) -> tuple[Answer | None, str]:
    try:
        return await platform.ask(arm, item.messages(), loaded.suite.options), ""
    except AskFailed as failed:
        return None, failed.code


async def _scores(loaded: Loaded, platform: Platform, item: Item, answer: Answer | None) -> dict[str, float]:
    """Of graders that look at one answer. A question that got none has 0 everywhere: it helped nobody."""
    scores: dict[str, float] = {}
    for name, grader in loaded.suite.graders.items():
        if isinstance(grader, Judge):
            continue
        if answer is None:
            scores[name] = 0.0
        elif isinstance(grader, Similarity):
            try:
                scores[name] = await graders.similarity(grader, platform, item, answer)
            except AskFailed:
                continue  # the grader failed, not the answer: the item has no such score
        else:
            scores[name] = graders.grade(grader, item, answer) or 0.0
    return scores


async def _judged(
    loaded: Loaded, platform: Platform, item: Item, answers: Sequence[Answer | None]
) -> tuple[list[dict[str, float]], int]:
    """Scores by judges for each arm. A judge that gives no verdict leaves the item without that score."""
    found: list[dict[str, float]] = [{} for _ in answers]
    unsteady = 0
    texts = [answer.text if answer is not None else "" for answer in answers]
    for name, judge in loaded.suite.graders.items():
        if not isinstance(judge, Judge):
            continue
        alone = len(answers) == 1
        if alone and item.expected is None:
            continue
        first, second = (item.expected or "", texts[0]) if alone else (texts[0], texts[1])
        try:
            preference = _without(first, second) or await judging.prefer(
                judge, platform, item.question(), first, second
            )
        except AskFailed:
            continue
        unsteady += not preference.steady
        found[-1][name] = preference.second
        if not alone:
            found[0][name] = 1 - preference.second
    return found, unsteady


def _without(first: str, second: str) -> Preference | None:
    """Nobody need be asked whether an answer is better than none."""
    if bool(first.strip()) == bool(second.strip()):
        return None
    return Preference(float(bool(second.strip())), True)


def _summed(item: Item, turns: Sequence[tuple[Answer | None, str, dict[str, float]]]) -> Scored:
    answers = [answer for answer, _, _ in turns if answer is not None]
    names = dict.fromkeys(name for _, _, scores in turns for name in scores)
    quantities = {}
    if answers:
        quantities = {
            "latency_ms": _mean([answer.latency_ms for answer in answers]),
            "cost_usd": _mean([answer.cost_usd for answer in answers]),
            "output_tokens": _mean([float(answer.output_tokens) for answer in answers]),
        }
    last = answers[-1] if answers else None
    return Scored(
        item.id,
        last.text if last else "",
        {name: _mean([scores[name] for _, _, scores in turns if name in scores]) for name in names},
        quantities,
        1 - len(answers) / len(turns),
        next((error for _, error, _ in reversed(turns) if error), ""),
        last.deployment if last else "",
        last.trace_id if last else "",
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
