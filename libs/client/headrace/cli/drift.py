"""`headrace drift`: whether requests are still what they were."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli._output import print_json, print_table
from headrace.cli._target import Json, connect
from headrace.types.traces import Drift, DriftBin


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(drift)


def drift(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    collection: Annotated[str | None, typer.Option(help="Only of requests that read this collection.")] = None,
    feature: Annotated[str | None, typer.Option(help="Only this, for example language or refused.")] = None,
    day: Annotated[str | None, typer.Option(help="Last day looked at, in UTC. Default: yesterday.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=31, help="Days looked at together.")] = None,
    reference_from: Annotated[str | None, typer.Option(help="First day that they are held against.")] = None,
    reference_to: Annotated[str | None, typer.Option(help="Last day that they are held against.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Another team; needs an admin key.")] = None,
    drifted: Annotated[bool, typer.Option("--drifted", help="Only what has drifted.")] = False,
    shares: Annotated[bool, typer.Option("--shares", help="Print how each is spread too, now and before.")] = False,
    fail: Annotated[bool, typer.Option("--fail", help="End with 1 where something has drifted.")] = False,
    as_json: Json = False,
) -> None:
    """Hold yesterday's requests against those of the week before, by model and collection.

    Example: headrace drift --model assistant --drifted
    """
    if (reference_from is None) != (reference_to is None):
        missing = "--reference-from" if reference_from is None else "--reference-to"
        raise typer.BadParameter("give both ends of the reference, or none", param_hint=missing)
    reference = (reference_from, reference_to) if reference_from and reference_to else None
    with connect(ctx, admin=tenant is not None) as client:
        found = client.drift(
            model=model, collection=collection, feature=feature, day=day, days=days, reference=reference,
            tenant=tenant, drifted=drifted,
        )  # fmt: skip
    alarms = sum(one.drifted for one in found.data)
    if as_json:
        print_json(found)
    else:
        rows = [
            (
                one.model,
                one.collection or "all",
                one.feature,
                "drifted" if one.drifted else "too few" if one.q_value is None else "steady",
                f"{one.psi:.2f}",
                "" if one.q_value is None else f"{one.q_value:.2g}",
                one.count,
                one.reference_count,
            )
            for one in found.data
        ]
        columns = ("model", "collection", "feature", "state", ">psi", ">q", ">requests", ">before")
        print_table(columns, rows, empty="nothing has drifted" if drifted else "no requests on these days")
        if shares:
            for one in found.data:
                _print_shares(one)
        span = found.start if found.start == found.end else f"{found.start} to {found.end}"
        typer.echo(f"{span} against {found.reference_from} to {found.reference_to}; {found.tests} tests", err=True)
    if fail and alarms:
        raise typer.Exit(1)


def _print_shares(one: Drift) -> None:
    typer.echo()
    rows = [
        (
            _bin(bin_),
            f"{bin_.count / max(1, one.count):.1%}",
            f"{bin_.reference_count / max(1, one.reference_count):.1%}",
        )
        for bin_ in one.bins
        if bin_.count or bin_.reference_count
    ]
    print_table((f"{one.feature} of {one.model}, {one.collection or 'all'}", ">now", ">before"), rows, empty="")


def _bin(one: DriftBin) -> str:
    match one.start, one.end:
        case None, None:
            return one.name
        case None, end:
            return f"below {end:g}"
        case start, None:
            return f"{start:g} and more"
        case start, end:
            return f"{start:g} to {end:g}"
