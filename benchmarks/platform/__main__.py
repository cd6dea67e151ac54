"""`python -m benchmarks.platform [--runtime process|ray|both] [--requests N] [--json]`, or `make bench`.

Starts a platform of its own on free ports with warm caches, measures, prints one table and stops it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.platform import first_token, memory
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.platform", description=__doc__)
    parser.add_argument("--runtime", choices=("process", "ray", "both"), default="both")
    parser.add_argument("--requests", type=int, default=200, help="pairs of requests per row")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    for runtime in ("process", "ray") if options.runtime == "both" else (options.runtime,):
        figures = run(runtime, options.requests)
        if options.json:
            print(json.dumps({"runtime": runtime, **figures}))
        else:
            show(figures, runtime)


def run(runtime: str, requests: int) -> dict[str, float]:
    """Start a platform, measure it, stop it."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        settings = Settings(data_dir=Path(folder) / "data", port_base=free_port_base(), runtime=runtime)
        platform = Platform(settings)
        started = time.monotonic()
        platform.start(bound=True)
        try:
            return measure(platform, time.monotonic() - started, requests)
        finally:
            platform.stop()


def measure(platform: Platform, start_s: float, requests: int) -> dict[str, float]:
    """All figures of a running platform."""
    time.sleep(5)  # let caches and pools settle: idle means after the start, not during it
    figures = {"start_s": start_s, **memory.idle_mib(platform.layout.data_dir)}
    figures.update(asyncio.run(first_token.compare(platform, "scripted", requests)))
    return figures


def show(figures: dict[str, float], runtime: str) -> None:
    """Print the table."""
    aims = "" if runtime == "process" else " (the targets are those of the process runtime)"
    table = Table(title=f"platform, runtime {runtime}, {os.cpu_count()} cores{aims}")
    for column in ("figure", "value", "target"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    table.add_row("start with warm caches, empty data folder", f"{figures['start_s']:.1f} s", "<= 60 s")
    for name, mib in figures.items():
        if name.startswith("memory."):
            target = "<= 3584 MiB" if name == "memory.total" else ""
            table.add_row(f"idle {name.replace('.', ' of ', 1)} (PSS)", f"{mib:.0f} MiB", target)
    table.add_row("first token, Triton called directly, p50", f"{figures['direct_ms_p50']:.2f} ms", "")
    for path in ("http", "grpc"):
        table.add_row(f"first token through {path}, p50", f"{figures[f'{path}_ms_p50']:.2f} ms", "")
        table.add_row(f"added by {path}, p50 of pairs", f"{figures[f'{path}_added_ms_p50']:.2f} ms", "<= 15 ms")
        table.add_row(f"added by {path}, p99 of pairs", f"{figures[f'{path}_added_ms_p99']:.2f} ms", "")
    Console().print(table)


if __name__ == "__main__":
    main()
