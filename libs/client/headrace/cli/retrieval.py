"""`headrace retrieval`: what becomes of documents, and how well they are found."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import retrieval_indexes, retrieval_jobs, retrieval_sources
from headrace.cli._failures import Failure
from headrace.cli._output import console, print_json, print_table
from headrace.cli._target import Json, Target, group

if TYPE_CHECKING:
    from headrace_evals.ranking.judged import Judged
    from headrace_evals.ranking.stages import Compared, Run

app = group("retrieval", "What becomes of documents, and how well they are found.")
retrieval_jobs.add_to(app)
retrieval_sources.add_to(app)
retrieval_indexes.add_to(app)

_STAGES = ("bm25", "vector", "fused", "reranked")
_INGEST = 100


@app.command("eval")
def evaluate(
    ctx: typer.Context,
    dataset: Annotated[
        Path, typer.Argument(help="A folder of BEIR or TREC, or a CSV with the columns question and document.")
    ],
    collection: Annotated[str, typer.Option(help="The collection to search; its document ids are the data set's.")],
    compare: Annotated[str, typer.Option(help="Another collection, asked the same: the two are compared.")] = "",
    against: Annotated[
        Path | None, typer.Option(help="A run that was kept by --out, to compare with.", dir_okay=False)
    ] = None,
    stage: Annotated[list[str] | None, typer.Option(help=f"Stages to measure: {', '.join(_STAGES)}.")] = None,
    split: Annotated[str, typer.Option(help="Which of BEIR's judgements.")] = "test",
    ingest: Annotated[bool, typer.Option(help="Store the data set's own documents (BEIR) first.")] = False,
    out: Annotated[Path | None, typer.Option(help="Keep the run in this file, as JSON.", dir_okay=False)] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw nDCG@10 into this file, as SVG.", dir_okay=False)] = None,
    as_json: Json = False,
) -> None:
    """Measure nDCG@10, recall and reciprocal rank of each stage of the search, with 95% intervals and paired tests.

    A document counts where its first passage is. p is that of a two-sided permutation test over the queries.

    Example: headrace retrieval eval questions.csv --collection handbook --plot handbook.svg
    """
    _check()
    from headrace_evals.ranking import judged as judged_by
    from headrace_evals.ranking import stages

    wanted = stage or list(_STAGES)
    if unknown := sorted(set(wanted) - set(_STAGES)):
        raise Failure(f"no such stage: {', '.join(unknown)}; there are: {', '.join(_STAGES)}")
    try:
        judged = judged_by.read(dataset, split)
        before = stages.read(against) if against is not None else None
    except (judged_by.JudgedInvalid, OSError, ValueError) as error:
        raise Failure(str(error)) from error
    if ingest and not judged.documents:
        raise Failure(f"{dataset} brings no documents (corpus.jsonl), so --ingest has nothing to store")
    runs = asyncio.run(
        _measure(ctx.obj, judged, [collection, *([compare] if compare else [])], wanted, ingest, as_json)
    )
    compared: list[Compared] = stages.against_parents(runs[0])
    try:
        if compare:
            compared += stages.against(runs[0], runs[1])
        if before is not None:
            compared += stages.against(before, runs[0])
    except stages.NotComparable as error:
        raise Failure(str(error)) from error
    if out is not None:
        stages.write(out, runs[0])
    if plot is not None:
        from headrace_evals.ranking.plot import intervals

        drawn = [
            (f"{run.name} {row.stage}", row.means[stages.MAIN]) for run in runs for row in stages.rows(run)
        ]  # fmt: skip
        plot.write_text(intervals(f"{judged.name}: {stages.MAIN}, {len(judged.queries)} queries", drawn), "utf-8")
    _print(runs, compared, as_json)


async def _measure(
    target: Target, judged: Judged, collections: list[str], wanted: list[str], ingest: bool, quiet: bool
) -> list[Run]:
    from rich.progress import Progress

    from headrace.ranking import CollectionSearcher
    from headrace_evals.ranking.stages import measure

    runs = []
    async with target.connect_async() as client:
        with Progress(console=console(err=True), transient=True, disable=quiet) as shown:
            for name in collections:
                if ingest:
                    bar = shown.add_task(f"documents into {name}", total=len(judged.documents))
                    for at in range(0, len(judged.documents), _INGEST):
                        part = judged.documents[at : at + _INGEST]
                        sent = [{"id": one.id, "text": one.text or one.title, "title": one.title} for one in part]
                        await client.ingest(name, sent)
                        shown.update(bar, advance=len(part))
                bar = shown.add_task(f"queries to {name}", total=len(judged.queries) * len(wanted))
                runs.append(
                    await measure(
                        judged,
                        CollectionSearcher(client, name),
                        wanted,
                        name,
                        lambda done, bar=bar: shown.update(bar, completed=done),  # type: ignore[misc]
                    )
                )
    return runs


def _print(runs: list[Run], compared: list[Compared], as_json: bool) -> None:
    from headrace_evals.ranking import stages

    if as_json:
        tables = [{"collection": run.name, "queries": len(run.queries), "stages": stages.rows(run)} for run in runs]
        print_json({"runs": tables, "compared": compared})
        return
    for run in runs:
        typer.echo(f"{run.dataset} in {run.name}: {len(run.queries)} queries")
        cells = [
            (row.stage, *(f"{one.value:.4f} ({one.low:.3f} to {one.high:.3f})" for one in row.means.values()))
            for row in stages.rows(run)
        ]
        measures = next(iter(run.scores.values())) if run.scores else ()
        print_table(("stage", *(f">{name}" for name in measures)), cells, empty="no stage")
    if compared:
        cells = [
            (f"{one.after} - {one.before}", f"{d.value:+.4f} ({d.low:+.4f} to {d.high:+.4f})", f"{d.p:.4f}")
            for one in compared
            for d in [one.difference]
        ]
        print_table((f"paired, {stages.MAIN}", ">difference", ">p"), cells, empty="")


def _check() -> None:
    for needed in ("ir_measures", "numpy", "scipy"):
        if importlib.util.find_spec(needed) is None:
            raise Failure(f"this command needs {needed}: install headrace-evals[ranking]")
