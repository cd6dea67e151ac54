"""What tracing costs the gateway: the same gateway, asked with and without a trace in turns."""

from __future__ import annotations

import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gateway import gateways
from benchmarks.gateway.__main__ import HERE, load
from headrace_local.ports import free_port_base

UNSAMPLED = gateways.SAMPLED[:-2] + "00"


def on_and_off(requests: int, rounds: int) -> list[dict[str, Any]]:
    """CPU time a request and its median latency, traced and not, by profile of the gateway; medians of the rounds."""
    found: list[dict[str, Any]] = []
    base = free_port_base()
    with gateways.workspace() as folder:
        command: list[str | Path] = [sys.executable, HERE / "upstream.py", str(base)]
        with (
            gateways.started(command, base, folder / "upstream.log", gateways.LOAD_CORE),
            gateways.headrace(base, folder) as made,
        ):
            for profile in made:
                ways = {
                    name: replace(profile, headers={**profile.headers, "traceparent": parent})
                    for name, parent in (("off", UNSAMPLED), ("on", gateways.SAMPLED))
                }
                rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
                for way in ways.values():
                    load(way, requests=max(50, requests // 5), concurrency=32)
                for _ in range(rounds):
                    for name, way in ways.items():
                        many = load(way, requests=requests, concurrency=32)
                        one = load(way, requests=max(50, requests // 5), concurrency=1)
                        stream = load(way, requests=max(50, requests // 10), concurrency=32, streams=True)
                        rows[name].append(
                            {
                                "cpu_us": many["cpu_us"],
                                "stream_cpu_us": stream["cpu_us"],
                                "p50_ms": one["p50_ms"],
                            }
                        )
                for name, taken in rows.items():
                    middle = {figure: statistics.median(row[figure] for row in taken) for figure in taken[0]}
                    found.append({"profile": profile.name, "tracing": name, **middle})
    return found
