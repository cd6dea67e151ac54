"""What tracing costs the gateway: the same gateway, asked with and without a trace in turns."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gateway import gateways
from benchmarks.gateway.__main__ import HERE, load
from headrace_local.ports import free_port_base

UNSAMPLED = gateways.SAMPLED[:-2] + "00"


SHIPPED_S = 1.3
"""Records go once a second: in this time after the last request the gateway has sent them all."""

LEAST_PAIRS = 6
"""Fewer have no interval: all of them could lie on one side by chance alone."""


def on_and_off(requests: int, rounds: int) -> list[dict[str, Any]]:
    """CPU time a request and its latency, traced and not, by profile of the gateway.

    Each round is a pair, the one or the other first in turns, so that a machine whose speed changes slows both. CPU
    time is counted until the records have gone, without what an idle gateway takes: sending them would else be
    counted with whichever requests come next, traced or not. A row has the medians of both, of what "on" takes more
    of in a pair, and its 95% interval.
    """
    found: list[dict[str, Any]] = []
    base = free_port_base()
    with gateways.workspace() as folder:
        command: list[str | Path] = [sys.executable, HERE / "upstream.py", str(base)]
        with (
            gateways.started(command, base, folder / "upstream.log", gateways.LOAD_CORE),
            gateways.headrace(base, folder) as made,
        ):
            idle = _idle(made[0])
            for profile in made:
                ways = [
                    replace(profile, headers={**profile.headers, "traceparent": parent})
                    for parent in (UNSAMPLED, gateways.SAMPLED)
                ]
                for way in ways:
                    load(way, requests=max(50, requests // 5), concurrency=32)
                taken: list[list[dict[str, float]]] = [[], []]
                for number in range(rounds):
                    for which in (0, 1) if number % 2 else (1, 0):
                        taken[which].append(_figures(ways[which], requests, idle))
                found.append({"profile": profile.name, **_compared(*taken)})
    return found


def _idle(gateway: gateways.Gateway, seconds: float = 10.0) -> float:
    """Seconds of CPU time that it takes in a second in which nobody asks."""
    time.sleep(SHIPPED_S)
    before = gateway.trees.cpu()
    time.sleep(seconds)
    return (gateway.trees.cpu() - before).total_s / seconds


def _figures(way: gateways.Gateway, requests: int, idle: float) -> dict[str, float]:
    many = _cpu_us(way, requests, idle)
    stream = _cpu_us(way, max(50, requests // 5), idle, streams=True)
    one = load(way, requests=max(50, requests // 5), concurrency=1)
    return {"cpu_us": many, "stream_cpu_us": stream, "p50_ms": one["p50_ms"]}


def _cpu_us(way: gateways.Gateway, requests: int, idle: float, streams: bool = False) -> float:
    """CPU microseconds of a request, of 32 at a time."""
    before, began = way.trees.cpu(), time.monotonic()
    done = load(way, requests=requests, concurrency=32, streams=streams)["requests"]
    time.sleep(SHIPPED_S)
    spent = (way.trees.cpu() - before).total_s - idle * (time.monotonic() - began)
    return float(spent / done * 1e6)


def _compared(off: list[dict[str, float]], on: list[dict[str, float]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for figure in off[0]:
        pairs = [(before[figure], after[figure]) for before, after in zip(off, on, strict=True)]
        more = [after - before if figure == "p50_ms" else after / before - 1 for before, after in pairs]
        made[figure] = {
            "off": statistics.median(before for before, _ in pairs),
            "on": statistics.median(after for _, after in pairs),
            "more": statistics.median(more),
            "interval": interval(more),
        }
    return made


def interval(values: Sequence[float], miss: float = 0.05) -> tuple[float, float] | None:
    """An interval that misses the median of what they are drawn from in 5% at most; None with too few values.

    Order statistics, by the binomial law of how many lie below it (Thompson 1936).
    """
    count = len(values)
    if count < LEAST_PAIRS:
        return None
    inner, below = 0, 0.5**count
    while 2 * below <= miss:
        inner += 1
        below += math.comb(count, inner) * 0.5**count
    ordered = sorted(values)
    return ordered[inner - 1], ordered[count - inner]
