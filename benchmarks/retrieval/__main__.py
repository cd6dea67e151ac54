"""`python -m benchmarks.retrieval [quality|citations|speed] [--data DIR] [--threads N]`, or `make bench-retrieval`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.retrieval import peers, sources

PARTS = ("quality", "citations", "speed")
_TARGETS = {
    ("cranfield", "fused"): "0.43",
    ("cranfield", "reranked"): "0.45",
    ("xquad-en", "fused"): "0.975",
}
_TIMES = {20_000: "p50 < 5, p99 < 20, recall >= 0.98", 200_000: "p50 < 15, recall >= 0.98"}
_console = Console(width=None if sys.stdout.isatty() else 150)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.retrieval", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)} (default: all)")
    data = Path(os.environ.get("HEADRACE_DATA", "../shared/data")) / "retrieval"
    parser.add_argument("--data", type=Path, default=data, help="folder with the collections (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of each model (default: %(default)s)")
    parser.add_argument(
        "--queries", type=int, default=0, help="at most so many of each set, spread over it (default: all)"
    )
    parser.add_argument(
        "--sizes", default="2000,20000,200000", help="passages of the speed part (default: %(default)s)"
    )
    parser.add_argument(
        "--model", choices=("small", "large", "none"), default="large", help="who answers (default: %(default)s)"
    )
    parser.add_argument(
        "--answers",
        type=Path,
        help="file of passages and answers: written as they come, and gone on from",
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.parts) - set(PARTS)):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    parts = options.parts or PARTS
    _console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options.threads} thread(s) a model")
    if not peers.there():
        _console.print("the peers are not installed: `make bench-retrieval` installs them")
    if "quality" in parts:
        _quality(options)
    if "citations" in parts:
        _citations(options)
    if "speed" in parts:
        _speed([int(size) for size in options.sizes.split(",")])


def _speed(sizes: list[int]) -> None:
    from benchmarks.retrieval import speed

    for found in speed.of(sizes):
        table = Table(title=f"{found.passages:,} passages: hybrid search without rerank and the query's embedding")
        for column in ("who", "p50 ms", "p99 ms", "CPU ms", "PostgreSQL's", "graph's recall@10", "targets"):
            table.add_column(column, justify="left" if column == "who" else "right")
        targets = _TIMES.get(found.passages, "")
        for name, took in found.search.items():
            figures = (f"{value:.2f}" for value in (took.p50, took.p99, took.cpu, took.postgres_cpu))
            table.add_row(f"may read {name}", *figures, f"{found.recall[name]:.3f}", targets)
        for name, took in found.peers.items():
            table.add_row(f"{name}, may read 60%", f"{took.p50:.2f}", f"{took.p99:.2f}", "", "", "", "")
        for name, took in found.parts.items():
            figures = (f"{value:.2f}" for value in (took.p50, took.p99, took.cpu, took.postgres_cpu))
            table.add_row(f"{name}, may read {speed.PARTS_OF}", *figures, "", "")
        _console.print(table)
        _console.print(
            f"stored and searchable: {found.stored_a_second:,.0f} passages/s (target >= 2,000), for "
            f"{found.stored_cpu_ms:.2f} ms of CPU each, and {found.stored_postgres_cpu_ms:.2f} of PostgreSQL's; its "
            f"graph was ready {found.graph_s:.0f} s later"
        )


def _citations(options: argparse.Namespace) -> None:
    from benchmarks.retrieval import citations

    if not (options.data / "xquad.en.json").is_file():
        sys.exit(f"no xquad.en.json in {options.data}: name the folder above it by HEADRACE_DATA, or it by --data")
    rows = citations.of(options.data, options.threads, options.model, options.answers)
    table = Table(
        title=f"citations of {citations.QUESTIONS} questions, one in {citations.LEFT_OUT} without its document"
    )
    for column in ("answers", "citations", "right", "precision", "true answers cited", "nothing to cite: none cited"):
        table.add_column(column, justify="left" if column == "answers" else "right")
    table.add_column("target precision", justify="right")
    for row in rows:
        of_true = f"{row.found} of {row.held}" if row.true else ""
        precision = f"{row.precision:.3f}" if row.true else ""
        silent = f"{row.silent} of {row.unanswerable}"
        table.add_row(
            row.kind, str(row.cited), str(row.right), precision, of_true, silent, ">= 0.9" if row.true else ""
        )
    _console.print(table)


def _quality(options: argparse.Namespace) -> None:
    from benchmarks.retrieval import quality
    from headrace_evals.ranking.stages import rows

    sets = [sources.some(judged, options.queries) for judged in sources.sets(options.data)]
    if not sets:
        sys.exit(f"no collection in {options.data}: name the folder above it by HEADRACE_DATA, or it by --data")
    for found in quality.of(sets, options.threads):
        run = found.run
        table = Table(title=f"{run.dataset}: {len(run.queries)} queries, means with 95% intervals")
        table.add_column("stage")
        for name in next(iter(run.scores.values())):
            table.add_column(name, justify="right")
        table.add_column("target nDCG@10", justify="right")
        for row in rows(run):
            cells = [f"{one.value:.4f} ({one.low:.3f} to {one.high:.3f})" for one in row.means.values()]
            target = _TARGETS.get((run.dataset, row.stage), "")
            table.add_row(row.stage, *cells, f">= {target}" if target else "")
        _console.print(table)
        table = Table(title=f"{run.dataset}: paired on the same queries, nDCG@10")
        for column in ("pair", "difference", "p"):
            table.add_column(column, justify="left" if column == "pair" else "right")
        for one in found.compared:
            apart = one.difference
            told = f"{apart.value:+.4f} ({apart.low:+.4f} to {apart.high:+.4f})"
            table.add_row(f"{one.after} - {one.before}", told, f"{apart.p:.4f}")
        _console.print(table)


if __name__ == "__main__":
    main()
