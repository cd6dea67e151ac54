"""`python -m benchmarks.tracing [PART ...] [--quick] [--json]`, or `make bench-tracing`.

Parts: ingest (OTLP beside Phoenix, and the gateway's records), queries, gateway. Tracing (and Phoenix) has the first
core, PostgreSQL and the load the second. CPU time of its processes is the figure to trust: on a busy machine spans by
the clock tell of the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.tracing import gateway, peer, queries, serving
from benchmarks.tracing.made import SPANS, SPANS_OF_TRACE, exports
from benchmarks.tracing.records import records

PARTS = ("ingest", "queries", "gateway")
WARM = 20_000
SPANS_S, MEMORY_MIB, ADDED_MS, ADDED_CPU = 5_000, 300, 1.0, 0.1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.tracing", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--spans", type=int, default=1_000_000, help="stored when questions are asked")
    parser.add_argument("--peer-spans", type=int, default=20_000, help="sent to Phoenix, and the same to us")
    parser.add_argument("--record-spans", type=int, default=100_000, help="sent as the gateway's records")
    parser.add_argument("--no-peer", action="store_true", help="without Phoenix")
    parser.add_argument("--queries", type=int, default=200, help="of each kind")
    parser.add_argument("--requests", type=int, default=1_000, help="of each round of the gateway")
    parser.add_argument("--rounds", type=int, default=21, help="with and without tracing, in pairs")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of all that: to see that it runs")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, a line for each row")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if given.quick:
        given.spans, given.record_spans, given.peer_spans = 20_000, 10_000, 2_000
        given.queries, given.requests, given.rounds = 20, 300, 1
    parts = given.parts or PARTS
    console = Console(width=None if sys.stdout.isatty() else 150)

    def told(part: str, rows: list[dict[str, Any]]) -> None:
        if given.json:
            for row in rows:
                print(json.dumps({"part": part, **row}), flush=True)
        else:
            console.print({"ingest": _ingest, "queries": _queries, "gateway": _gateway}[part](rows, given))
            console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")

    if {"ingest", "queries"} & set(parts):
        stored(given, parts, told)
    if "gateway" in parts:
        told("gateway", gateway.on_and_off(given.requests, given.rounds))


def stored(given: argparse.Namespace, parts: Sequence[str], told: Callable[[str, list[dict[str, Any]]], None]) -> None:
    """Ingest, the questions, then the peer on the same PostgreSQL."""
    with serving.platform() as running, tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        ours = serving.ours(running)
        warm = min(WARM, given.spans // 4)
        serving.ingest(ours, warm, seed=1)
        rows = [serving.ingest(ours, given.spans, seed=2)]
        if "queries" in parts:
            told("queries", asyncio.run(queries.queries(running, ours, given.queries)))
        if "ingest" in parts:
            rows.append(serving.ingest(ours, given.record_spans, seed=3, records=True))
            if not given.no_peer:
                rows.append(serving.ingest(ours, given.peer_spans, seed=4))
                with peer.peer(running, ours.database, Path(folder)) as theirs:
                    serving.ingest(theirs, min(1_000, given.peer_spans // 4), seed=1)
                    rows.append(serving.ingest(theirs, given.peer_spans, seed=4))
            told("ingest", rows)


def _ingest(rows: list[dict[str, Any]], given: argparse.Namespace) -> Table:
    size, record = (len(next(made(0, 0, 1))) / SPANS for made in (exports, records))
    title = (
        f"ingest: {SPANS} spans a message, {SPANS_OF_TRACE} a request, with messages and passages: {size:.0f} bytes "
        f"each as OTLP, {record:.0f} as records\ntargets: {SPANS_S:,} spans a second of one core, {MEMORY_MIB} MiB"
    )
    table = _table(
        title, "", "spans", "spans/s\nby the clock", "CPU us a span\nservice", "spans a second\nof its core",
        "CPU us a span\nPostgreSQL", "bytes a span\non disk", "peak MiB", "export ms\np50/p99", "lost",
    )  # fmt: skip
    for row in rows:
        per_core = 1e6 / row["cpu_us"]
        ours = row["place"].startswith("headrace")
        table.add_row(
            row["place"],
            f"{row['spans']:,}",
            f"{row['spans_s']:,.0f}",
            f"{row['cpu_us']:,.0f}",
            _judged(f"{per_core:,.0f}", per_core >= SPANS_S) if ours else f"{per_core:,.0f}",
            f"{row['database_cpu_us']:,.0f}",
            f"{row['bytes']:,.0f}",
            _judged(f"{row['peak_mib']:.0f}", row["peak_mib"] <= MEMORY_MIB) if ours else f"{row['peak_mib']:.0f}",
            f"{row['p50_ms']:,.0f}/{row['p99_ms']:,.0f}",
            f"{row['missing']:,}",
        )
    return table


def _queries(rows: list[dict[str, Any]], given: argparse.Namespace) -> Table:
    title = f"questions over {given.spans:,} spans, {given.queries} of each"
    table = _table(title, "", "of", "rows", "p50 ms", "p95 ms", "target p50", "CPU ms\nservice", "PostgreSQL")
    for row in rows:
        target = row["target_ms"]
        p50 = f"{row['p50_ms']:.1f}"
        table.add_row(
            row["kind"],
            row["what"],
            str(row["rows"]),
            p50 if target is None else _judged(p50, row["p50_ms"] < target),
            f"{row['p95_ms']:.1f}",
            "" if target is None else f"< {target:.0f}",
            f"{row['cpu_ms']:.1f}",
            f"{row['database_cpu_ms']:.1f}",
        )
    return table


def _gateway(rows: list[dict[str, Any]], given: argparse.Namespace) -> Table:
    title = f"the gateway, tracing off and on; targets: < {ADDED_MS:.0f} ms more at p50, <= {ADDED_CPU:.0%} more CPU"
    table = _table(
        title, "", "CPU us a request\noff/on", "more (95%)", "CPU us a stream\noff/on", "more (95%)",
        "p50 ms, one at a time\noff/on", "more ms (95%)",
    )  # fmt: skip
    for row in rows:
        cells = [row["profile"]]
        for figure, most, shape, sides in (
            ("cpu_us", ADDED_CPU, "{:+.1%}", "{:,.0f}"),
            ("stream_cpu_us", ADDED_CPU, "{:+.1%}", "{:,.0f}"),
            ("p50_ms", ADDED_MS, "{:+.2f}", "{:.2f}"),
        ):
            one = row[figure]
            between = f" ({' to '.join(map(shape.format, one['interval']))})" if one["interval"] else ""
            cells.append(f"{sides.format(one['off'])}/{sides.format(one['on'])}")
            cells.append(_judged(shape.format(one["more"]), one["more"] <= most) + between)
        table.add_row(*cells)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    return table


def _judged(text: str, held: bool) -> str:
    return f"[{'green' if held else 'red'}]{text}[/]"


if __name__ == "__main__":
    main()
