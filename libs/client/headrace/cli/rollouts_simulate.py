"""`headrace rollouts simulate`: rollouts played in a computer, judged by what judges live traffic."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli._config_file import part
from headrace.cli._failures import Failure
from headrace.cli._lines import Known, interval, page
from headrace.cli._output import console, print_json, print_table
from headrace.cli._target import Json

_PACKAGE = "headrace_rollout.simulation"


def add_to(app: typer.Typer) -> None:
    """Add this command to `headrace rollouts`."""
    app.command()(simulate)


def simulate(
    scenario: Annotated[
        str | None, typer.Argument(help="A YAML file, or the name of one that comes with headrace.")
    ] = None,
    plays: Annotated[int, typer.Option("--plays", "-n", min=1, max=100_000, help="Rollouts to play.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same rollouts.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes. Default: 2, or the cores.")] = None,
    peers: Annotated[bool, typer.Option(help="Fixed thresholds and a t-test, on the same requests.")] = True,
    plan: Annotated[
        bool, typer.Option("--plan", help="Instead: how long until something is known, by traffic.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Instead: play it once, and draw what was known of each metric, as SVG.", dir_okay=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Play a rollout many times: how often is it rolled back, promoted, and after how long?

    Example: headrace rollouts simulate errors --plays 500

    Without a scenario, those that come with headrace are listed. A file describes traffic, both arms, and the steps:
    the README of services/rollout has an example.
    """
    if plan:
        _plan(plays, seed, workers, as_json)
        return
    shipped, scenarios, runs = part(f"{_PACKAGE}.shipped"), part(f"{_PACKAGE}.scenario"), part(f"{_PACKAGE}.run")
    if scenario is None:
        listed = [(name, shipped.shipped(name).about) for name in shipped.names()]
        if as_json:
            print_json([{"name": name, "about": about} for name, about in listed])
        else:
            print_table(("scenario", "what it is"), listed, empty="")
        return
    try:
        known = scenario in shipped.names()
        played = shipped.shipped(scenario) if known else scenarios.read(Path(scenario))
    except scenarios.ScenarioInvalid as error:
        hint = "" if Path(scenario).exists() else f"; those that come with headrace: {', '.join(shipped.names())}"
        raise Failure(f"{error}{hint}") from error
    if plot is not None:
        _plot(played, scenario, seed, plot, as_json)
        return
    with _Bar(plays, scenario, as_json) as bar:
        found = runs.simulate(
            played, plays, seed=seed, workers=workers or _workers(), with_peers=peers, progress=bar.update
        )
    least = runs.bound(played)
    if as_json:
        print_json(
            {
                "scenario": scenario,
                "about": played.about,
                "plays": plays,
                "seed": seed,
                "wald_requests": least,
                "judges": [dataclasses.asdict(one) for one in found],
            }
        )
        return
    unit = "pairs" if all(name.startswith("pairs.") for name, _ in played.analysis.metrics()) else "canary requests"
    typer.echo(f"{played.about or scenario}: {plays} rollouts, shares with 95% intervals\n")
    print_table(
        ("judge", ">rolled back", ">promoted", ">detected", f">mean {unit}", ">95% within", ">minutes, half", ">95%"),
        [
            (
                one.judge,
                _share(one.rolled_back),
                _share(one.promoted),
                _share(one.detected),
                f"{one.requests:,.0f}",
                f"{one.requests_p95:,.0f}",
                _minutes(one.minutes_p50),
                _minutes(one.minutes_p95),
            )
            for one in found
        ],
        empty="",
    )
    if least is not None:
        typer.echo(f"\nWald's bound, with both error rates known: {least:,.0f} canary requests")
    typer.echo("\nhow they ended: " + ", ".join(f"{end} {count}" for end, count in found[0].ends.items()))


def _plot(scenario: Any, name: str, seed: int, file: Path, as_json: bool) -> None:
    ended, points = part(f"{_PACKAGE}.picture").traced(scenario, seed)
    groups = []
    for metric in dict.fromkeys(point.metric for point in points):
        known = [point for point in points if point.metric == metric]
        lines = [Known(point.at, point.estimate, point.low, point.high, point.state) for point in known]
        groups.append(interval(f"{metric}: how much worse the candidate is", known[-1].margin, lines))
    why = f" by {ended.cause}" if ended.cause else ""
    said = f"{name}: {ended.end}{why} after {ended.requests:,} canary requests"
    file.write_text(page(said, groups), encoding="utf-8")
    if as_json:
        print_json({"scenario": name, "seed": seed, "end": ended.end, "cause": ended.cause, "at_s": ended.at})
    else:
        typer.echo(f"{said}: {file}")


def _plan(plays: int, seed: int, workers: int | None, as_json: bool) -> None:
    planning = part(f"{_PACKAGE}.planning")
    with _Bar(planning.ROWS * plays, "planning", as_json) as bar:
        rows = planning.plan(plays, seed=seed, workers=workers or _workers(), progress=bar.update)
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
        return
    traffic = planning.TRAFFIC
    print_table(
        ("what is to be known, at a 10% canary", ">requests", *(f">{per_minute:,}/min" for per_minute in traffic)),
        [
            (row.what, f"{row.requests:,.0f}", *(_time(row.requests / per_minute) for per_minute in traffic))
            for row in rows
        ],
        empty="",
    )
    typer.echo(f"\nin 9 of 10 of {plays} rollouts each; requests are those of both arms, or pairs")


class _Bar:
    """Progress on standard error, where that is a terminal."""

    def __init__(self, total: int, title: str, quiet: bool) -> None:
        from rich.progress import Progress

        shown = console(err=True)
        self._bar: Any = Progress(console=shown, disable=quiet or not shown.is_terminal, transient=True)
        self._task = self._bar.add_task(title, total=total)

    def update(self, done: int) -> None:
        """So many are done."""
        self._bar.update(self._task, completed=done)

    def __enter__(self) -> _Bar:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)


def _workers() -> int:
    return min(2, os.cpu_count() or 1)


def _share(share: Any) -> str:
    return f"{share.share:.1%} ({share.low:.1%}-{share.high:.1%})"


def _minutes(minutes: float | None) -> str | None:
    return None if minutes is None else f"{minutes:,.1f}"


def _time(minutes: float) -> str:
    if minutes < 90:
        return f"{minutes:.0f} min" if minutes >= 1 else "< 1 min"
    return f"{minutes / 60:.0f} h" if minutes < 72 * 60 else f"{minutes / 1440:.0f} d"
