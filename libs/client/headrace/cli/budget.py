"""`headrace budget` and `headrace audit`: what a team may still spend, and who changed what."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from headrace.cli._output import money, print_json, print_table, shortened
from headrace.cli._target import Json, connect


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(budget)
    app.command()(audit)


def budget(
    ctx: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Another team; needs an admin key.")] = None,
    as_json: Json = False,
) -> None:
    """Show what your team may spend, and what is left of it.

    Example: headrace budget
    """
    with connect(ctx, admin=tenant is not None) as client:
        found = client.budget(tenant=tenant)
    if as_json:
        print_json(found)
        return
    amounts = ("budget_usd", "spent_usd", "reserved_usd", "remaining_usd")
    cells = [(b.per, *(money(getattr(b, name)) for name in amounts), b.resets_at) for b in found.budgets]
    print_table(("per", ">budget", ">spent", ">reserved", ">left", "resets"), cells, empty="no budget")
    if not all(state.current for state in found.budgets):
        typer.echo("as known last: the store that gateways share budgets through is away", err=True)
    limits = found.limits
    shown = [
        f"{value} {name.replace('_', ' ')}"
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
        if (value := getattr(limits, name)) is not None
    ]
    typer.echo("limits: " + (", ".join(shown) or "none"))


def audit(
    ctx: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    action: Annotated[
        str | None, typer.Option(help="Only this, for example key.rotated; with a dot at its end all such: key.")
    ] = None,
    before: Annotated[str | None, typer.Option(help="Id of the last entry of the page before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most entries.")] = 100,
    as_json: Json = False,
) -> None:
    """Show who changed keys, budgets and the config, newest first; needs an admin key.

    Example: headrace audit --action key. --limit 20
    """
    with connect(ctx, admin=True) as client:
        found = client.audit(tenant=tenant, action=action, before=before, limit=limit)
    if as_json:
        print_json(found)
        return
    cells = [(e.at, e.actor, e.action, e.tenant, e.subject, shortened(_change(e.before, e.after), 80)) for e in found]
    print_table(("at", "who", "what", "tenant", "subject", "change"), cells, empty="nothing was changed")


def _change(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    if before is None or after is None:
        return json.dumps(after if before is None else before)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(f"{name}: {json.dumps(before.get(name))} -> {json.dumps(after.get(name))}" for name in names)
