"""`headrace usage`: what your team used, and what it cost."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli._output import money, print_json, print_table
from headrace.cli._target import Json, connect


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(usage)


def usage(
    ctx: typer.Context,
    group_by: Annotated[str, typer.Option(help="Dimensions with commas, for example day,model,arm.")] = "day,model",
    start: Annotated[str | None, typer.Option("--from", help="First day or time, for example 2026-11-01.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Day or time before which to end.")] = None,
    as_json: Json = False,
) -> None:
    """Show requests, tokens and cost of your team.

    Example: headrace usage --group-by model --from 2026-11-01
    """
    dimensions = [name.strip() for name in group_by.split(",") if name.strip()]
    if not dimensions:
        raise typer.BadParameter("give at least one dimension", param_hint="--group-by")
    with connect(ctx) as client:
        rows = client.usage(group_by=dimensions, start=start, end=end)
    if as_json:
        sums = ("requests", "input_tokens", "output_tokens", "cost_usd", "overhead_usd")
        print_json([row.groups | {name: getattr(row, name) for name in sums} for row in rows])
        return
    cells = [
        (*row.groups.values(), row.requests, row.input_tokens, row.output_tokens, money(row.cost_usd)) for row in rows
    ]
    print_table([*dimensions, ">requests", ">in", ">out", ">cost"], cells, empty="nothing used yet")
