"""`headrace usage`: what your team used, and what it cost."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli._output import money, print_json, print_table
from headrace.cli._target import Json, connect
from headrace.types.usage import UsageRow

_SUMS = ("requests", "input_tokens", "output_tokens", "cost_usd", "overhead_usd", "cache_hits", "saved_usd")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(usage)


def usage(
    ctx: typer.Context,
    group_by: Annotated[str, typer.Option(help="Dimensions with commas, for example day,model,arm.")] = "day,model",
    start: Annotated[str | None, typer.Option("--from", help="First day or time, for example 2026-11-01.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Day or time before which to end.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a table for spreadsheets.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the cost into this SVG file.")] = None,
    as_json: Json = False,
) -> None:
    """Show requests, tokens and cost of your team.

    Dimensions: day, hour, tenant, model, deployment, arm, key, operation. A plot has a bar for each value of the first
    one, in layers by the others.

    Example: headrace usage --group-by day,model --from 2026-11-01 --plot usage.svg
    """
    dimensions = [name.strip() for name in group_by.split(",") if name.strip()]
    if not dimensions:
        raise typer.BadParameter("give at least one dimension", param_hint="--group-by")
    if as_csv and as_json:
        raise typer.BadParameter("take one of --csv and --json", param_hint="--csv")
    if plot is not None and plot.suffix.lower() != ".svg":
        raise typer.BadParameter("the plot is an SVG: name a file that ends in .svg", param_hint="--plot")
    with connect(ctx) as client:
        rows = client.usage(group_by=dimensions, start=start, end=end)
    if plot is not None:
        try:
            plot.write_text(_plot(rows, dimensions))
        except OSError as error:
            raise typer.BadParameter(f"cannot write {plot}: {error.strerror}", param_hint="--plot") from error
        typer.echo(f"drew {plot}", err=True)
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([*dimensions, *_SUMS])
        writer.writerows([*row.groups.values(), *(getattr(row, name) for name in _SUMS)] for row in rows)
        return
    if as_json:
        print_json([row.groups | {name: getattr(row, name) for name in _SUMS} for row in rows])
        return
    cells = [
        (
            *row.groups.values(),
            row.requests,
            row.input_tokens,
            row.output_tokens,
            money(row.cost_usd),
            row.cache_hits,
            money(row.saved_usd),
        )
        for row in rows
    ]
    columns = [*dimensions, ">requests", ">in", ">out", ">cost", ">hits", ">saved"]
    print_table(columns, cells, empty="nothing used yet")


def _plot(rows: Sequence[UsageRow], dimensions: Sequence[str]) -> str:
    from headrace.cli._chart import bars

    first, others = dimensions[0], dimensions[1:]
    places = list(dict.fromkeys(row.groups[first] for row in rows))
    layers: dict[str, list[float]] = {}
    for row in rows:
        name = ", ".join(row.groups[other] for other in others) or "cost"
        layers.setdefault(name, [0.0] * len(places))[places.index(row.groups[first])] += float(row.cost_usd)
    return bars(f"Cost by {', '.join(dimensions)}", "US dollars", places, list(layers.items()))
