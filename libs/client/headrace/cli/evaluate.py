"""`headrace eval`: models on golden sets, in a team's CI and night after night."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli._failures import Failure
from headrace.cli._output import console, print_json, print_table
from headrace.cli._target import Json, Target, group

if TYPE_CHECKING:
    from headrace_evals.nightly import Night
    from headrace_evals.ports import Arm
    from headrace_evals.results import Result
    from headrace_evals.suite import Loaded
    from headrace_evals.verdict import Verdict

app = group("eval", "Models on golden sets: run a suite, compare two runs, report, and watch the trend.")

Suites = Annotated[list[Path], typer.Argument(help="Suites: YAML files, or a folder of them.")]
Junit = Annotated[Path | None, typer.Option(help="Write JUnit's XML into this file.", dir_okay=False)]
Markdown = Annotated[Path | None, typer.Option(help="Write a page of Markdown into this file.", dir_okay=False)]
FOLDER = Path("evals")


@app.command()
def run(
    ctx: typer.Context,
    suite: Annotated[Path, typer.Argument(help="A suite: a YAML file.")],
    model: Annotated[str, typer.Option(help="The model to ask. Default: the suite's.")] = "",
    baseline: Annotated[str, typer.Option(help="A model to compare it with, asked the same at the same time.")] = "",
    against: Annotated[
        Path | None, typer.Option(help="A result that was kept by --out, to compare it with.", dir_okay=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the results in this file, as JSON.", dir_okay=False)] = None,
    junit: Junit = None,
    markdown: Markdown = None,
    as_json: Json = False,
) -> None:
    """Ask a model what a suite asks, grade the answers, and hold the suite's thresholds against them.

    Exit code 1 when one does not hold.

    Example: headrace eval run evals/handbook.yaml --model assistant-v2 --baseline assistant --junit eval.xml
    """
    from headrace_evals import results
    from headrace_evals.ports import Arm

    loaded = _load(suite)
    asked = model or loaded.suite.model
    if baseline and against is not None:
        raise Failure("name one of --baseline and --against")
    arms = [Arm(asked, asked)]
    if baseline:
        arms = [Arm(baseline, baseline), *arms]
    kept = results.read(against)[-1] if against is not None else None
    found = _run(ctx, loaded, arms, quiet=as_json)
    if out is not None:
        results.write(out, found)
    _end(loaded, [kept, *found] if kept is not None else found, junit, markdown, as_json)


@app.command()
def compare(
    suite: Annotated[Path, typer.Argument(help="The suite that both are of.")],
    before: Annotated[Path, typer.Argument(help="The baseline's results, kept by --out.")],
    after: Annotated[Path, typer.Argument(help="The others.")],
    junit: Junit = None,
    markdown: Markdown = None,
    as_json: Json = False,
) -> None:
    """Compare two runs of a suite on the same items. Exit code 1 when a threshold does not hold.

    Example: headrace eval compare evals/handbook.yaml before.json after.json
    """
    from headrace_evals import results

    pair = [results.read(before)[-1], results.read(after)[-1]]
    _end(_load(suite), pair, junit, markdown, as_json)


@app.command()
def report(
    suite: Annotated[Path, typer.Argument(help="The suite that it is of.")],
    result: Annotated[Path, typer.Argument(help="Results, kept by --out.")],
    junit: Junit = None,
    markdown: Markdown = None,
    as_json: Json = False,
) -> None:
    """Report a run again: as a page, as JUnit's XML, or here. Exit code 1 when a threshold does not hold.

    Example: headrace eval report evals/handbook.yaml result.json --markdown eval.md
    """
    from headrace_evals import results

    _end(_load(suite), results.read(result), junit, markdown, as_json)


@app.command()
def nightly(
    ctx: typer.Context,
    suites: Suites = [FOLDER],  # noqa: B006  (typer reads it, nobody changes it)
    model: Annotated[list[str] | None, typer.Option(help="Models to ask. Default: each suite's.")] = None,
    history: Annotated[Path, typer.Option(help="Where each night is kept.", dir_okay=False)] = FOLDER / "history.jsonl",
    page: Annotated[Path, typer.Option(help="The page to write, as HTML.", dir_okay=False)] = FOLDER / "nightly.html",
    as_json: Json = False,
) -> None:
    """Run all suites, keep what was found, and write one page: quality, cost and latency of each model, with the trend.

    Exit code 1 when a threshold does not hold.

    Example: headrace eval nightly evals --history evals/history.jsonl --page evals/nightly.html
    """
    from headrace_evals import nightly as nights
    from headrace_evals.ports import Arm

    files = [file for place in suites for file in _files(place)]
    loaded = [_load(file) for file in files]
    tonight: list[Night] = []
    for suite in loaded:
        for asked in model or [suite.suite.model]:
            found = _run(ctx, suite, [Arm(asked, asked)], quiet=as_json)
            tonight.append(nights.night_of(found[-1], _verdict(suite, found)))
            nights.append(history, tonight[-1:])
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(nights.page(nights.read(history)), encoding="utf-8")
    if as_json:
        print_json(tonight)
    else:
        rows = [(night.suite, night.model, "passed" if night.passed else "failed", night.why) for night in tonight]
        print_table(("suite", "model", "verdict", "why"), rows, empty="no suites")
    if not all(night.passed for night in tonight):
        raise typer.Exit(1)


def _load(path: Path) -> Loaded:
    from headrace_evals import graders, suite

    try:
        loaded = suite.load(path)
        for name, grader in loaded.suite.graders.items():
            graders.check(name, grader)
    except suite.SuiteInvalid as error:
        raise Failure(str(error)) from error
    return loaded


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    found = sorted(place.glob("*.yaml"))
    if not found:
        raise Failure(f"{place} holds no suite (*.yaml)")
    return found


def _run(ctx: typer.Context, loaded: Loaded, arms: list[Arm], *, quiet: bool) -> list[Result]:
    from rich.progress import Progress

    from headrace.evals import HttpPlatform
    from headrace_evals.ports import Away
    from headrace_evals.run import run as run_suite

    target: Target = ctx.obj

    async def work() -> list[Result]:
        shown = Progress(console=console(err=True), transient=True, disable=quiet)
        async with target.connect_async() as client:
            with shown:
                bar = shown.add_task(loaded.name, total=len(loaded.items))
                return await run_suite(
                    loaded, HttpPlatform(client), arms, lambda done, _all: shown.update(bar, completed=done)
                )

    try:
        return asyncio.run(work())
    except Away as error:
        raise Failure(f"{loaded.name} could not be run: {error}") from error


def _verdict(loaded: Loaded, found: list[Result]) -> Verdict:
    from headrace_evals import verdict

    try:
        return verdict.judge(loaded, found[-1], found[0] if len(found) > 1 else None)
    except verdict.NotComparable as error:
        raise Failure(str(error)) from error


def _end(loaded: Loaded, found: list[Result], junit: Path | None, markdown: Path | None, as_json: bool) -> None:
    """Say what was found, and end with 1 when a threshold does not hold."""
    from headrace_evals import reports
    from headrace_evals.verdict import rows

    verdict = _verdict(loaded, found)
    if junit is not None:
        junit.write_text(reports.junit(found, verdict), encoding="utf-8")
    if markdown is not None:
        markdown.write_text(reports.markdown(found, verdict), encoding="utf-8")
    if as_json:
        print_json(verdict)
    else:
        typer.echo(f"{loaded.name}: {'passed' if verdict.passed else 'failed'}, {len(found[-1].items)} items")
        means = [(name, *("" if value is None else f"{value:.4g}" for value in values)) for name, values in rows(found)]
        print_table(("metric", *(f">{result.arm.name}" for result in found)), means, empty="nothing")
        for check in verdict.checks:
            typer.echo(
                f"{'✓' if check.passed else '✗'} {check.metric} {check.rule}{': ' if check.why else ''}{check.why}"
            )
        for note in found[-1].notes:
            typer.echo(f"note: {note}")
    if not verdict.passed:
        raise typer.Exit(1)
