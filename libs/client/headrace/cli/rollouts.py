"""`headrace rollouts`: swaps of models, for platform engineers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import rollouts_simulate
from headrace.cli._output import print_json, print_table
from headrace.cli._rollout_view import COLUMNS, checked, evaluated, headline, numbers, percent
from headrace.cli._target import Json, connect, group

if TYPE_CHECKING:
    from headrace.types.admin import Rollout

app = group("rollouts", "Swaps of models; needs an admin key (HEADRACE_ADMIN_KEY).")
rollouts_simulate.add_to(app)


@app.command("list")
def list_(
    ctx: typer.Context,
    ended: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    as_json: Json = False,
) -> None:
    """List rollouts.

    Example: headrace rollouts list --all
    """
    with connect(ctx, admin=True) as client:
        found = client.rollouts(ended=ended)
    if as_json:
        print_json(found)
        return
    rows = [(r.id, r.model, r.state, f"{r.step + 1}/{r.steps}", percent(r.weight), r.holds or r.reason) for r in found]
    print_table(("id", "model", "state", "step", ">weight", "why"), rows, empty="no rollouts")


@app.command()
def show(ctx: typer.Context, rollout_id: str, as_json: Json = False) -> None:
    """Show one rollout.

    Example: headrace rollouts show 5f2a...
    """
    with connect(ctx, admin=True) as client:
        _print(client.rollout(rollout_id), as_json)


@app.command()
def promote(ctx: typer.Context, rollout_id: str, as_json: Json = False) -> None:
    """Put every request on the candidate at once.

    Example: headrace rollouts promote 5f2a...
    """
    with connect(ctx, admin=True) as client:
        _print(client.promote_rollout(rollout_id), as_json)


@app.command()
def abort(
    ctx: typer.Context,
    rollout_id: str,
    reason: Annotated[str, typer.Option(help="Kept for whoever asks later.")] = "",
    as_json: Json = False,
) -> None:
    """Go back to the baseline.

    Example: headrace rollouts abort 5f2a... --reason "answers got worse"
    """
    with connect(ctx, admin=True) as client:
        _print(client.abort_rollout(rollout_id, reason=reason), as_json)


def _print(rollout: Rollout, as_json: bool) -> None:
    if as_json:
        print_json(rollout)
        return
    typer.echo(headline(rollout))
    if line := evaluated(rollout):
        typer.echo(line)
    for check in checked(rollout):
        typer.echo(check)
    if rollout.holds:
        typer.echo(f"holds: {rollout.holds}")
    if rollout.reason:
        typer.echo(f"why: {rollout.reason}")
    if rollout.verdicts:
        print_table(COLUMNS, [numbers(verdict) for verdict in rollout.verdicts], empty="")
