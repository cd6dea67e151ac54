"""Rankings by stage of the search, measured, compared with each other and with those of another run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from headrace_evals.ranking.judged import Judged
from headrace_evals.ranking.measures import MEASURES, Difference, Mean, compare, documents_of, mean, score

PARENTS = {"bm25": (), "vector": (), "fused": ("bm25", "vector"), "reranked": ("fused",)}
"""Stages of a search, and the ones that each should be better than."""

DEPTH = 100
"""Passages asked for."""

AT_ONCE = 4
MAIN = MEASURES[0]


class Searcher(Protocol):
    """Something that ranks."""

    async def search(self, stage: str, query: str, depth: int) -> Sequence[str]:
        """The documents of the best `depth` passages, best first, as often as they have passages there."""


class Run(msgspec.Struct):
    """What a data set's queries got, by stage and measure, in the order of `queries`."""

    dataset: str
    name: str
    queries: list[str]
    scores: dict[str, dict[str, tuple[float, ...]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One stage's means by measure."""

    stage: str
    means: Mapping[str, Mean]


@dataclass(frozen=True, slots=True)
class Compared:
    """`after` against `before` by the main measure."""

    before: str
    after: str
    difference: Difference


class NotComparable(Exception):
    """Two runs are not of the same queries."""


async def measure(
    judged: Judged,
    searcher: Searcher,
    stages: Sequence[str],
    name: str,
    progress: Callable[[int], None] = lambda done: None,
) -> Run:
    """Ask every query at every stage and score the answers. Errors of the searcher end the run."""
    gate, done = asyncio.Semaphore(AT_ONCE), 0
    found: dict[str, dict[str, list[str]]] = {stage: {} for stage in stages}

    async def ask(stage: str, id: str, text: str) -> None:
        nonlocal done
        async with gate:
            found[stage][id] = documents_of(await searcher.search(stage, text, DEPTH))
        done += 1
        progress(done)

    async with asyncio.TaskGroup() as group:
        for stage in stages:
            for id, text in judged.queries.items():
                group.create_task(ask(stage, id, text))
    scores = {stage: score(judged, found[stage]) for stage in stages}
    return Run(judged.name, name, list(judged.queries), scores)


def rows(run: Run) -> list[Row]:
    """The table of a run."""
    return [Row(stage, {measure: mean(values) for measure, values in of.items()}) for stage, of in run.scores.items()]


def against_parents(run: Run) -> list[Compared]:
    """Each stage against those that it is made of."""
    return [
        Compared(parent, stage, compare(run.scores[parent][MAIN], run.scores[stage][MAIN]))
        for stage in run.scores
        for parent in PARENTS[stage]
        if parent in run.scores
    ]


def against(before: Run, after: Run) -> list[Compared]:
    """Each stage of one run against the same stage of another. Raises NotComparable."""
    if before.queries != after.queries:
        raise NotComparable(f"{before.name} and {after.name} were not asked the same queries")
    return [
        Compared(f"{stage} of {before.name}", f"{stage} of {after.name}", compare(
            before.scores[stage][MAIN], after.scores[stage][MAIN]
        ))
        for stage in after.scores
        if stage in before.scores
    ]  # fmt: skip


def write(path: Path, run: Run) -> None:
    """Keep a run."""
    path.write_bytes(msgspec.json.encode(run))


def read(path: Path) -> Run:
    """A run that was kept. Raises msgspec.ValidationError, msgspec.DecodeError, OSError."""
    return msgspec.json.decode(path.read_bytes(), type=Run)
