"""`python -m benchmarks.rollouts [--plays N] [--only NAME,...] [--json]`, or `make bench-rollouts`.

Plays the scenarios that come with headrace against the analysis that judges live traffic, and prints each figure beside
its target, with 95% intervals, beside what fixed thresholds and a t-test that is looked at do on the same requests.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from benchmarks.rollouts.cost import cost
from benchmarks.rollouts.figures import FIGURES, Row
from benchmarks.rollouts.judged import judged
from benchmarks.rollouts.live.rollback import rollback
from benchmarks.rollouts.live.shadow import shadow
from benchmarks.rollouts.rates import rates
from headrace_rollout.simulation.run import bound, simulate
from headrace_rollout.simulation.shipped import shipped

MORE: Mapping[str, Callable[[int], list[Row]]] = {
    "rates": rates,
    "judge": judged,
    "cost": lambda _: [cost()],
    "rollback": lambda _: rollback(),
    "shadow": lambda _: shadow(),
}
"""What is no scenario: failures at many rates, pairs that a model compared, what judging costs, and two over real
processes."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.rollouts", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--plays", type=int, default=1_000, help="rollouts of each scenario (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", help=f"with commas, scenarios or {', '.join(MORE)}")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else [*dict.fromkeys(figure.scenario for figure in FIGURES), *MORE]
    console = Console(stderr=options.json, width=None if sys.stdout.isatty() else 170)
    rows: list[Row] = []
    started = time.monotonic()
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        for name in wanted:
            if name in MORE:
                continue
            task = progress.add_task(name, total=options.plays)
            scenario = shipped(name)
            found = simulate(
                scenario,
                options.plays,
                seed=options.seed,
                workers=options.workers,
                with_peers=True,
                progress=_shown(progress, task),
            )
            progress.remove_task(task)
            rows += [figure.row(scenario, found, bound(scenario)) for figure in FIGURES if figure.scenario == name]
    for name in wanted:
        if name in MORE:
            rows += MORE[name](options.seed)
    played = f"{options.plays} rollouts of each scenario, seed {options.seed}"
    table = Table(title=None if MORE.keys() >= {*wanted} else played, box=None, pad_edge=False)
    for column in (
        "figure",
        "target",
        "measured",
        "with 95%",
        "held",
        "fixed thresholds",
        "t-test, peeked at",
        "bound",
    ):
        table.add_column(column, justify="left" if column == "figure" else "right", overflow="fold")
    for row in rows:
        table.add_row(
            row.figure, row.target, row.measured, row.interval, "yes" if row.held else "NO", *row.peers, row.bound
        )
    console.print(table)
    console.print(f"{time.monotonic() - started:.0f} s on {os.cpu_count()} cores")
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))


def _shown(progress: Progress, task: TaskID) -> Callable[[int], None]:
    return lambda done: progress.update(task, completed=done)


if __name__ == "__main__":
    main()
