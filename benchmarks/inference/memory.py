"""Memory over many requests: scripted ones, and now and then a short real answer."""

from __future__ import annotations

import asyncio
import json

from benchmarks.inference import serving
from benchmarks.inference.figures import Figure
from benchmarks.inference.options import Options
from benchmarks.inference.peers import Ask, Headrace

_WARM_UP = 600
_AT_ONCE = 8
_REAL_EVERY = 50
_SCRIPT = json.dumps({"tokens": ["one ", "two ", "three "]})
_GROWTH = 1.05


async def measure(options: Options) -> list[Figure]:
    """RSS and PSS after a warm-up, in the middle and at the end; PSS of each kind of process at start and end."""
    with serving.inference({"scripted": {"engine": "triton-scripted"}, "small": options.language_model()}) as platform:
        scripted, real = Headrace(platform, "scripted"), Headrace(platform, "small")
        try:
            await scripted.ready()
            await real.ready()
            await _ask(scripted, real, options, _WARM_UP)
            seen = [scripted.trees.memory_mib()]
            for _ in range(2):
                await _ask(scripted, real, options, options.requests // 2)
                seen.append(scripted.trees.memory_mib())
        finally:
            await scripted.close()
            await real.close()
    start, middle, end = (found["total"] for found in seen)
    figures = [
        Figure(
            f"all processes, {kind}, end over start",
            end[index],
            start[index],
            end[index] / start[index],
            unit="MiB",
            target=f"<= {_GROWTH}",
            note=f"{options.requests} requests; {middle[index]:.0f} MiB in the middle",
        )
        for index, kind in enumerate(("RSS", "PSS"))
    ]
    for name in sorted(seen[0]):
        if name != "total":
            figures.append(Figure(f"{name}, PSS, end and start", seen[2][name][1], seen[0][name][1], unit="MiB"))
    return figures


async def _ask(scripted: Headrace, real: Headrace, options: Options, count: int) -> None:
    left = iter(range(count))

    async def work() -> None:
        for number in left:
            if number % _REAL_EVERY:
                await scripted.ask(Ask(_SCRIPT, 8))
            else:
                (prompt,) = options.prompts.take(1)
                await real.ask(Ask(prompt, 4))

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())
