"""How long it takes until the last new request is on the candidate, from the decision, on two gateways under load."""

from __future__ import annotations

import statistics
import time
from datetime import datetime

from benchmarks.rollouts.figures import Row
from benchmarks.rollouts.live.world import MODEL, World, running

RATE, DELAY_MS = 100.0, 20.0
ABORTS, HARMS = 12, 6
SETTLE_S = 1.5
STAYS = [{"weight": "50%", "at_least": "1h"}, {"weight": "100%"}]
ERRORS = {"errors": {"max_increase": "5%"}, "failures": None, "total": None}
MOST_S = 2.0


def rollback() -> list[Row]:
    """A row for what a person aborts, and one for what the analysis rolls back."""
    with running(DELAY_MS) as world, world.load(dict.fromkeys(world.ports, MODEL), RATE):
        aborted = [_aborted(world) for _ in range(ABORTS)]
        harmed = [_harmed(world) for _ in range(HARMS)]
    return [
        _row("from a person's abort, as it was sent", aborted),
        _row("from the decision of the analysis, as it is stored", harmed),
    ]


def _aborted(world: World) -> float:
    began = time.time()
    id_ = world.start("next", STAYS)
    world.until_on("candidate", began)
    decided = time.time()
    world.abort(id_)
    return _last(world, began) - decided


def _harmed(world: World) -> float:
    began = time.time()
    told = world.until(world.start("broken", STAYS, analysis=ERRORS), "rolled_back")
    decided = datetime.fromisoformat(told["decisions"][-1]["at"]).timestamp()
    return _last(world, began) - decided


def _last(world: World, began: float) -> float:
    """When the last request that was on the candidate was sent."""
    time.sleep(SETTLE_S)
    return max(row.sent_s for row in world.seen(began) if row.arm == "candidate")


def _row(what: str, took_s: list[float]) -> Row:
    # The last request before the decision may be the last of all.
    took_ms = [max(0.0, 1000 * one) for one in took_s]
    return Row(
        figure=f"last new request on the candidate, two gateways at {RATE:.0f} requests/s each, {what}: max",
        target=f"<= {1000 * MOST_S:,.0f} ms",
        measured=f"{max(took_ms):.0f} ms",
        interval=f"p50 {statistics.median(took_ms):.0f} ms of {len(took_ms)}",
        held=max(took_s) <= MOST_S,
        peers=("", ""),
        bound="",
    )
