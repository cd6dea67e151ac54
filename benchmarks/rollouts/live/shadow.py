"""Whether users wait longer while their requests are copied.

Two gateways have the same load at the same moments, so what else the machine does hits both; one copies, the other does
not, and at half time they change places.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.rollouts.figures import Row
from benchmarks.rollouts.live.world import MODEL, PLAIN, World, running

RATE, DELAY_MS = 50.0, 100.0
HALF_S, SETTLE_S = 30.0, 3.0
RATIO = 1.02
SHARES = ("10%", "100%")


def shadow() -> list[Row]:
    """A row for each share of requests that is copied."""
    with running(DELAY_MS) as world:
        return [_row(world, share) for share in SHARES]


def _row(world: World, share: str) -> Row:
    steps = [{"shadow": share, "at_least": "1h"}, {"weight": "100%"}]
    id_ = world.start("next", steps, shadow={"concurrency": 64, "usd_per_hour": 1000})
    world.until(id_, "running")
    took: dict[bool, list[float]] = {False: [], True: []}
    cpu_s = {False: 0.0, True: 0.0}
    for copies, other in (world.ports, world.ports[::-1]):
        with world.load({copies: MODEL, other: PLAIN}, RATE):
            time.sleep(SETTLE_S)  # connections are there, code is warm
            since, before = time.time(), {port: world.cpu_s(port) for port in world.ports}
            time.sleep(HALF_S)
            for port in world.ports:
                cpu_s[port == copies] += world.cpu_s(port) - before[port]
            rows = world.seen(since)
        if any(row.status != 200 for row in rows):
            raise RuntimeError("a request failed")
        for row in rows:
            took[row.port == copies].append(row.took_ms)
        if {row.arm for row in rows if row.port == copies} != {"baseline"}:
            raise RuntimeError("the rollout does not run")
    copied = world.copies()
    world.abort(id_)
    (off50, off99), (on50, on99) = (np.quantile(took[on], (0.5, 0.99)) for on in (False, True))
    cpu_ms = {on: 1000 * cpu_s[on] / len(took[on]) for on in (False, True)}
    low, high = _interval(took[False], took[True])
    return Row(
        figure=f"p99 of users with {share} of requests copied, by that without, at {RATE:.0f} requests/s "
        f"to a model that takes {DELAY_MS:.0f} ms",
        target=f"<= {RATIO:.2f}x",
        measured=f"{on99 / off99:.3f}x",
        interval=f"{low:.3f}-{high:.3f}; p99 {on99:.1f} by {off99:.1f} ms, p50 {on50:.1f} by {off50:.1f} ms, "
        f"CPU {cpu_ms[True]:.1f} by {cpu_ms[False]:.1f} ms a request, {len(took[True]):,} requests each, "
        f"{copied:,} copies so far",
        held=bool(on99 / off99 <= RATIO),
        peers=("", ""),
        bound="",
    )


def _interval(off: list[float], on: list[float]) -> tuple[float, float]:
    """Of the ratio of both p99, by bootstrap."""
    random = np.random.default_rng(0)
    ratios = [
        np.quantile(random.choice(on, len(on)), 0.99) / np.quantile(random.choice(off, len(off)), 0.99)
        for _ in range(1000)
    ]
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(low), float(high)
