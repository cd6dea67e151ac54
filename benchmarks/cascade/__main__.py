"""`python -m benchmarks.cascade [--data DIR] [--folds N] [--held-out DIR] [--json]`, or `make bench-cascade`.

AUC is that of *A Unified Approach to Routing and Cascading for LLMs* (ICML 2025): the area below the points of a way,
joined by straight lines, from the mean cost of the cheapest model to that of the dearest, divided by that range, in
percent. Published there on all of RouterBench with three models, where "predictions" are the truth blurred by noise:
linear 69.6, routing 71.8 to 79.7, cascade routing 73.2 to 82.4. The features here see the prompt and the answers that
were paid for, nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.cascade import sources, ways
from headrace_router.predictors import Array
from headrace_router.training import curve
from headrace_router.training.crossfit import splits
from headrace_router.training.dataset import Dataset
from headrace_router.training.embed import LocalEmbedder
from headrace_router.training.fit import Options, train

LOSS, SHARE, AREA = 0.02, 0.34, 75.0
"""The targets: at most this loss of the best model's quality, at this share of its cost; and an AUC."""
THREE = ("mistralai/mixtral-8x7b-chat", "gpt-3.5-turbo-1106", "gpt-4-1106-preview")
"""The models of the published figures."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.cascade", description=__doc__.split("\n", 1)[0])
    data = Path(os.environ.get("HEADRACE_DATA", "../shared/data")) / "cascade"
    parser.add_argument("--data", type=Path, default=data, help="folder with the training files (default: %(default)s)")
    parser.add_argument("--held-out", type=Path, help="folder with routerbench_*.test.csv: judged, never trained on")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--onnx", type=Path, help="folder with model.onnx and tokenizer.json that embed the prompts")
    parser.add_argument("--sets", default="routerbench,three,gsm8k,mt_bench", help="which of %(default)s")
    parser.add_argument("--no-leave-out", action="store_true", help="do not leave each task out of training once")
    parser.add_argument("--out", type=Path, default=Path(".headrace/bench"), help="where the plots go")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bench = Bench(options)
    results = bench.run()
    if not results:
        sys.exit(f"no files in {options.data}: name their folder by HEADRACE_DATA or --data")
    if options.json:
        print(json.dumps(results, indent=2))


class Bench:
    """One run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.console = Console(stderr=options.json, width=None if sys.stdout.isatty() else 140)
        self.training = Options(folds=4, seed=options.seed, tradeoffs=ways.POINTS)
        self.started = time.monotonic()

    def run(self) -> dict[str, Any]:
        """All sets that are there."""
        wanted = self.options.sets.split(",")
        results: dict[str, Any] = {}
        whole = sources.routerbench(self.options.data)
        sets: dict[str, Dataset | None] = {
            "routerbench": whole,
            "three": None if whole is None else whole.only(THREE),
            "gsm8k": sources.gsm8k(self.options.data),
            "mt_bench": sources.mt_bench(self.options.data),
        }
        for name, data in sets.items():
            if name not in wanted or data is None:
                continue
            data = self._embedded(data)
            judged, chosen = self._crossed(data, name)
            results[name] = self._report(f"{name}, {self.options.folds} folds", data, judged, chosen)
            if len(set(data.groups)) > 1:
                results[name]["tasks"] = self._tasks(data, chosen)
                if not self.options.no_leave_out and name == "routerbench":
                    judged, chosen = self._left_out(data)
                    results["left_out"] = self._report("each task judged by the others", data, judged, chosen)
                    results["left_out"]["tasks"] = self._tasks(data, chosen)
        if self.options.held_out and whole is not None:
            fresh = sources.routerbench(self.options.held_out, "test")
            if fresh is None:
                sys.exit(f"no routerbench_*.test.csv in {self.options.held_out}")
            results["held_out"] = self._held_out(self._embedded(whole), self._embedded(fresh))
        return results

    def _embedded(self, data: Dataset) -> Dataset:
        if not self.options.onnx:
            return data
        self._say(f"embedding {len(data.rows)} prompts")
        embedder = LocalEmbedder(self.options.onnx / "model.onnx", self.options.onnx / "tokenizer.json")
        return data.embedded(list(embedder.embed([row.prompt for row in data.rows])))

    def _crossed(self, data: Dataset, name: str) -> tuple[dict[str, ways.Judged], ways.Judged]:
        parts = list(splits(data, self.options.folds, self.options.seed))
        return self._parts(data, parts, [f"{name}, fold {number}" for number in range(1, len(parts) + 1)])

    def _left_out(self, data: Dataset) -> tuple[dict[str, ways.Judged], ways.Judged]:
        groups = np.array(data.groups)
        tasks = sorted(set(data.groups))
        parts = [(np.flatnonzero(groups != task), np.flatnonzero(groups == task)) for task in tasks]
        return self._parts(data, parts, [f"without {task}" for task in tasks])

    def _parts(
        self, data: Dataset, parts: list[tuple[Any, Any]], names: list[str]
    ) -> tuple[dict[str, ways.Judged], ways.Judged]:
        judged = ways.empty(len(data.rows))
        chosen = ways.Judged(np.zeros((1, len(data.rows))), np.zeros((1, len(data.rows))))
        for name, (learn, rest) in zip(names, parts, strict=True):
            self._say(name)
            self._part(data.take(learn.tolist()), data.take(rest.tolist()), rest, judged, chosen)
        return judged, chosen

    def _part(
        self, known: Dataset, fresh: Dataset, rows: Any, judged: dict[str, ways.Judged], chosen: ways.Judged
    ) -> None:
        most = min(self.training.deployments, len(known.deployments))
        trained = train(known, replace(self.training, deployments=most))
        mean_costs = known.only(trained.router.deployments).costs.mean(axis=0)
        for way, (scores, costs) in ways.judge(trained.router, mean_costs, fresh).items():
            judged[way].scores[:, rows], judged[way].costs[:, rows] = scores, costs
        best = known.scores[:, known.scores.mean(axis=0).argmax()]
        place = ways.chosen(trained, best, LOSS)
        result = judged[ways.CASCADE_ROUTING]
        chosen.scores[0, rows], chosen.costs[0, rows] = result.scores[place, rows], result.costs[place, rows]

    def _held_out(self, known: Dataset, fresh: Dataset) -> dict[str, Any]:
        fresh = fresh.only(known.deployments)
        judged = ways.empty(len(fresh.rows))
        chosen = ways.Judged(np.zeros((1, len(fresh.rows))), np.zeros((1, len(fresh.rows))))
        self._say("held out")
        self._part(known, fresh, np.arange(len(fresh.rows)), judged, chosen)
        result = self._report("held out", fresh, judged, chosen)
        result["tasks"] = self._tasks(fresh, chosen)
        return result

    def _report(self, title: str, data: Dataset, judged: dict[str, ways.Judged], chosen: ways.Judged) -> dict[str, Any]:
        scores, costs = data.scores, data.costs
        single = costs.mean(axis=0), scores.mean(axis=0)
        best = int(single[1].argmax())
        curves = [curve.linear(costs, scores), *(result.curve(way) for way, result in judged.items())]
        intervals = {way: self._interval(result, scores, costs) for way, result in judged.items()}
        table = Table("", "score", "$ of 1,000", "AUC", "95%", f"cost for {1 - LOSS:.0%}", f"quality at {SHARE:g}x")
        table.title = f"{title}: {len(data.rows)} rows, {data.left_out} left out"
        for place in np.argsort(single[0]):
            table.add_row(data.deployments[place], f"{single[1][place]:.4f}", f"{single[0][place] * 1000:.4g}")
        rows = {}
        for line in curves:
            area = curve.area(line, *single)
            cost = line.cost_of((1 - LOSS) * single[1][best]) / single[0][best]
            quality = line.quality_at(SHARE * single[0][best]) / single[1][best]
            low, high = intervals.get(line.name, (float("nan"), float("nan")))
            span = f"{low:.1f} to {high:.1f}" if line.name in intervals else ""
            table.add_row(line.name, "", "", f"{area:.1f}", span, f"{cost:.2f}x", f"{quality:.1%}")
            rows[line.name] = {"auc": area, "auc_95": [low, high], "cost_of_target": cost, "quality_at_share": quality}
        kept = float(chosen.scores.mean() / single[1][best])
        paid = float(chosen.costs.mean() / single[0][best])
        area = rows[ways.CASCADE_ROUTING]["auc"]
        self.console.print(table)
        met = {True: "met", False: "not met"}
        self.console.print(
            f"set on training rows to keep {1 - LOSS:.0%}: {kept:.1%} of {data.deployments[best]}'s quality at "
            f"{paid:.2f}x of its cost · target {1 - LOSS:.0%} at {SHARE:g}x: "
            f"{met[kept >= 1 - LOSS and paid <= SHARE]} · target AUC {AREA:g}: {met[area >= AREA]}\n"
        )
        self._plot(title, data, curves, chosen)
        return {"rows": len(data.rows), "ways": rows, "chosen": {"quality": kept, "cost": paid}}

    def _tasks(self, data: Dataset, chosen: ways.Judged) -> dict[str, Any]:
        groups, scores, costs = np.array(data.groups), data.scores, data.costs
        best = int(scores.mean(axis=0).argmax())
        table = Table(
            "task", "rows", "quality", "cost", title=f"the chosen setting by task, of {data.deployments[best]}'s"
        )
        found = {}
        for task in sorted(set(data.groups)):
            rows = groups == task
            quality = float(chosen.scores[0, rows].mean() / scores[rows, best].mean())
            cost = float(chosen.costs[0, rows].mean() / costs[rows, best].mean())
            table.add_row(task, str(rows.sum()), f"{quality:.1%}", f"{cost:.2f}x")
            found[task] = {"quality": quality, "cost": cost}
        self.console.print(table)
        return found

    def _interval(self, judged: ways.Judged, scores: Array, costs: Array, draws: int = 200) -> tuple[float, float]:
        """A 95% interval of the area, by the bootstrap over rows."""
        rng = np.random.default_rng(0)
        areas = []
        for _ in range(draws):
            rows = rng.integers(0, len(scores), len(scores))
            areas.append(curve.area(judged.of(rows).curve(""), costs[rows].mean(axis=0), scores[rows].mean(axis=0)))
        low, high = np.percentile(areas, [2.5, 97.5])
        return float(low), float(high)

    def _plot(self, title: str, data: Dataset, curves: list[curve.Curve], chosen: ways.Judged) -> None:
        self.options.out.mkdir(parents=True, exist_ok=True)
        file = self.options.out / f"cascade-{title.split(',')[0].replace(' ', '-')}.svg"
        means = zip(data.deployments, data.costs.mean(axis=0).tolist(), data.scores.mean(axis=0).tolist(), strict=True)
        marks = [("set on training rows", float(chosen.costs.mean()), float(chosen.scores.mean()))]
        hulls = [curve.Curve(line.name, *curve.hull(line.costs, line.qualities)) for line in curves]
        file.write_text(curve.draw(hulls, list(means), title=title, marks=marks))
        self.console.print(f"plot: {file}")

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self.started:6.0f} s  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
