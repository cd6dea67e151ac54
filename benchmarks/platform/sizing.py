"""`python -m benchmarks.platform.sizing [--requests N] [--json]`: CPU per 1,000 requests and memory, by part.

Starts a platform of its own, sends it kinds of requests that use different parts, and prints what each part's processes
took of the CPU for 1,000 of them, beyond what they take when nothing is asked. The engine is a scripted one, so a
model's own work is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.platform.memory import idle_mib, kind
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings

_TOKENS = json.dumps({"tokens": [f"word{number} " for number in range(20)]})
_PLACE = (
    "The canal opens at seven and closes at nine in the evening; the lock keeper is called by the bell at the gate. "
)
KINDS: dict[str, dict[str, Any]] = {
    "answers of 20 tokens, guarded": {},
    "the same, streamed": {"stream": True},
    "grounded in a collection": {"headrace": {"collections": ["handbook"]}},
}
IDLE = "idle, thousandths of a core"
IDLE_S = 20
AT_ONCE = 16


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.platform.sizing", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="of each kind (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        settings = Settings(data_dir=Path(folder) / "data", port_base=free_port_base())
        platform = Platform(settings)
        platform.start(bound=True)
        try:
            figures, memory = asyncio.run(_measure(platform, given.requests))
        finally:
            platform.stop()
    if given.json:
        print(json.dumps({"cpu_s_per_1000": figures, "memory_mib": memory}))
        return
    table = Table(title=f"CPU seconds per 1,000 requests, and memory after them; {os.cpu_count()} cores", box=None)
    table.add_column("part")
    for name in (IDLE, *KINDS, "memory"):
        table.add_column(name, justify="right")
    parts = sorted({part for taken in figures.values() for part in taken})
    for part in parts:
        taken = [f"{figures[name].get(part, 0.0):.2f}" for name in (IDLE, *KINDS)]
        table.add_row(part, *taken, f"{memory.get(f'memory.{part}', 0):.0f} MiB")
    Console(width=140).print(table)


async def _measure(platform: Platform, requests: int) -> tuple[dict[str, dict[str, float]], Mapping[str, float]]:
    env = platform.env()
    found: dict[str, dict[str, float]] = {}
    headers = {"authorization": f"Bearer {env['HEADRACE_API_KEY']}"}
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(env["HEADRACE_URL"], headers=headers, timeout=timeout) as http:
        for number in range(20):
            await _document(http, number)
        await asyncio.sleep(10)
        before = _cpu(platform)
        await asyncio.sleep(IDLE_S)
        found[IDLE] = {part: (taken - before.get(part, 0.0)) / IDLE_S * 1000 for part, taken in _cpu(platform).items()}
        for name, extra in KINDS.items():
            await _send(http, extra, AT_ONCE * 4)
            begun, before = time.monotonic(), _cpu(platform)
            await _send(http, extra, requests)
            await asyncio.sleep(3)  # what is done off the path: spans, the ledger
            after, lasted = _cpu(platform), time.monotonic() - begun
            found[name] = {
                part: max(0.0, after[part] - before.get(part, 0.0) - found[IDLE].get(part, 0.0) * lasted / 1000)
                / requests
                * 1000
                for part in after
            }
    return found, idle_mib(platform.layout.data_dir)


async def _send(http: aiohttp.ClientSession, extra: Mapping[str, Any], requests: int) -> None:
    left = iter(range(requests))
    content = _TOKENS if "headrace" not in extra else "When does the canal open?"
    body = {"model": "scripted", "messages": [{"role": "user", "content": content}], "max_tokens": 20, **extra}

    async def worker() -> None:
        for _ in left:
            async with http.post("/v1/chat/completions", json=body) as answer:
                text = await answer.text()
                if answer.status != 200:
                    raise SystemExit(f"{answer.status}: {text[:300]}")

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def _document(http: aiohttp.ClientSession, number: int) -> None:
    body = {"documents": [{"id": f"canal-{number}", "text": _PLACE * 5, "title": f"Canal {number}"}]}
    async with http.post("/v1/collections/handbook/documents?wait=true", json=body) as answer:
        if answer.status not in (200, 201, 202):
            raise SystemExit(f"{answer.status}: {(await answer.text())[:300]}")


def _cpu(platform: Platform) -> dict[str, float]:
    """CPU seconds so far, by part."""
    sums: dict[str, float] = defaultdict(float)
    for process in psutil.process_iter():
        try:
            if process.environ().get("HEADRACE_DATA_DIR") == str(platform.layout.data_dir):
                part = kind(process.cmdline())
                # PostgreSQL's own processes write their titles over what says whose they are.
                backends = process.children(recursive=True) if part == "postgres" else []
                for one in (process, *backends):
                    times = one.cpu_times()
                    sums[part] += times.user + times.system
        except psutil.Error:
            continue
    return dict(sums)


if __name__ == "__main__":
    main()
