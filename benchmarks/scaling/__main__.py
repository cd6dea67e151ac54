"""`python -m benchmarks.scaling [--hours H] [--runs N] [--slo S] [--load S] [--json]`, or `make bench-scaling`.

Plays hours of arrivals against model servers that take minutes to load, scaled by what the chart can scale on, and
prints for each how many requests waited longer than the objective for their first token, and what it cost in GPU hours.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.scaling.policies import Outcome, play, policies
from benchmarks.scaling.servers import Engine
from benchmarks.scaling.traffic import TRAFFIC


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.scaling", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--hours", type=float, default=4, help="of traffic in a run (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each kind of traffic (default: %(default)s)")
    parser.add_argument("--slo", type=float, default=2.0, help="seconds to the first token (default: %(default)s)")
    parser.add_argument("--load", type=float, default=180, help="seconds until a server answers (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    engine = replace(Engine(), load_s=given.load)
    rows = []
    names = [policy.name for policy in policies(engine)]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("playing", total=len(TRAFFIC) * given.runs * len(names))
        for kind, (make, long) in TRAFFIC.items():
            found: dict[str, list[Outcome]] = {name: [] for name in names}
            lengths = long(given.hours)
            for seed in range(given.runs):
                rates = make(given.hours, np.random.default_rng(1000 + seed))
                for policy in policies(engine):
                    found[policy.name].append(play(policy, rates, lengths, engine, given.slo, seed))
                    progress.advance(task)
            for name, outcomes in found.items():
                requests = sum(one.requests for one in outcomes)
                rows.append(
                    {
                        "traffic": kind,
                        "scaled on": name,
                        "late": sum(one.late for one in outcomes) / requests,
                        "p99_s": max(one.p99_s for one in outcomes),
                        "gpu_hours": sum(one.gpu_hours for one in outcomes) / given.runs,
                        "changes": sum(one.changes for one in outcomes) / given.runs,
                    }
                )
    if given.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(
        title=f"{given.runs} runs of {given.hours:g} h each; a server takes {given.load:g} s to load; "
        f"late: first token after more than {given.slo:g} s",
        box=None,
        pad_edge=False,
    )
    for column in ("traffic", "scaled on", "late", "p99, worst run", "GPU hours", "changes"):
        table.add_column(column, justify="left" if column in ("traffic", "scaled on") else "right")
    for row in rows:
        table.add_row(
            row["traffic"],
            row["scaled on"],
            f"{row['late']:.2%}",
            f"{row['p99_s']:.1f} s",
            f"{row['gpu_hours']:.1f}",
            f"{row['changes']:.0f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
