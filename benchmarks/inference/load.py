"""Concurrent streams against one side, and what they cost it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.inference.peers import Answer, Ask, Side
from benchmarks.inference.processes import Cpu


@dataclass(frozen=True, slots=True)
class Round:
    """One round of requests.

    Attributes:
        answers: in the order of the requests.
        cpu: what they cost the serving processes.
        wall_s: seconds from the first request to the last answer.
    """

    answers: Sequence[Answer]
    cpu: Cpu
    wall_s: float

    @property
    def tokens(self) -> int:
        """Output tokens in all."""
        return sum(answer.output_tokens for answer in self.answers)

    @property
    def tokens_per_cpu_s(self) -> float:
        """Output tokens a CPU second of the serving processes."""
        return self.tokens / max(self.cpu.total_s, 1e-9)

    @property
    def tokens_per_s(self) -> float:
        """Output tokens a second of wall time."""
        return self.tokens / self.wall_s

    @property
    def first_ms(self) -> float:
        """Median time to the first token in milliseconds."""
        return statistics.median(answer.first_s for answer in self.answers) * 1000

    @property
    def busiest_ms_per_token(self) -> float:
        """CPU milliseconds an output token of the busiest thread: the one that computes the model."""
        return self.cpu.busiest_s * 1000 / max(1, self.tokens)

    @property
    def other_ms_per_token(self) -> float:
        """CPU milliseconds an output token of all other threads."""
        return (self.cpu.total_s - self.cpu.busiest_s) * 1000 / max(1, self.tokens)


async def run(side: Side, asks: Sequence[Ask], streams: int) -> Round:
    """Send the requests, at most `streams` at a time; the next starts when one ends."""
    waiting = list(enumerate(asks))[::-1]
    answers: dict[int, Answer] = {}

    async def stream() -> None:
        while waiting:
            number, ask = waiting.pop()
            answers[number] = await side.ask(ask)

    before, started = side.trees.cpu(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(min(streams, len(asks))):
            group.create_task(stream())
    wall_s = time.perf_counter() - started
    # The end of an answer reaches its reader a moment before the server is done with it.
    await asyncio.sleep(0.05)
    return Round([answers[number] for number in range(len(asks))], side.trees.cpu() - before, wall_s)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rounds of the same requests on two sides, one right after the other, the first of them in turn."""

    ours: Sequence[Round]
    theirs: Sequence[Round]

    @property
    def cpu_ratio(self) -> float:
        """Our tokens a CPU second over theirs: median of the rounds."""
        return statistics.median(
            ours.tokens_per_cpu_s / theirs.tokens_per_cpu_s for ours, theirs in zip(self.ours, self.theirs, strict=True)
        )

    @property
    def level_cpu_ratio(self) -> float:
        """The same, had both engines' threads needed as much a token: what the engine's own noise leaves of it."""
        engine = statistics.median(one.busiest_ms_per_token for one in (*self.ours, *self.theirs))
        theirs = statistics.median(one.other_ms_per_token for one in self.theirs)
        ours = statistics.median(one.other_ms_per_token for one in self.ours)
        return (engine + theirs) / (engine + ours)

    @property
    def added_first_ms(self) -> float:
        """What we add to the time to the first token: median over requests, each against itself on the other side."""
        return 1000 * statistics.median(
            ours.first_s - theirs.first_s
            for one, other in zip(self.ours, self.theirs, strict=True)
            for ours, theirs in zip(one.answers, other.answers, strict=True)
        )


async def compare(ours: Side, theirs: Side, rounds: Sequence[Sequence[Ask]], streams: int) -> Pairs:
    """Run each round on both sides."""
    found: tuple[list[Round], list[Round]] = [], []
    for number, asks in enumerate(rounds):
        order = (0, 1) if number % 2 else (1, 0)
        for index in order:
            found[index].append(await run((ours, theirs)[index], asks, streams))
    return Pairs(*found)
