"""`headrace retrieval sources` and `sync`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli._failures import Failure
from headrace.cli._output import print_json, print_table
from headrace.cli._target import Json, connect

if TYPE_CHECKING:
    from headrace.types.documents import Source

Collection = Annotated[str, typer.Argument(help="The collection; see: headrace collections list")]
_REFUSALS = 20


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(sources)
    app.command()(sync)


def sources(ctx: typer.Context, collection: Collection, as_json: Json = False) -> None:
    """List where a collection's documents come from by themselves, and how that went.

    Example: headrace retrieval sources handbook
    """
    with connect(ctx) as client:
        found = client.sources(collection)
    if as_json:
        print_json(found)
        return
    _print(found)


def sync(
    ctx: typer.Context,
    collection: Collection,
    source: Annotated[str | None, typer.Argument(help="One source; all of the collection without.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when it is done, or queued.")] = True,
    as_json: Json = False,
) -> None:
    """Synchronise sources: new and changed documents come in, those that vanished go out.

    Example: headrace retrieval sync handbook policies
    """
    with connect(ctx) as client:
        names = [source] if source else [one.name for one in client.sources(collection)]
        if not names:
            raise Failure(f"the config names no sources for {collection}: see collections.<name>.sources")
        done = [client.sync_source(collection, name, wait=wait) for name in names]
        refused = [
            (one.name, refusal)
            for one in done
            if wait and one.refused
            for refusal in client.refusals(collection, one.name, limit=_REFUSALS)
        ]
    if as_json:
        print_json(done)
    else:
        _print(done)
        for name, refusal in refused:
            typer.echo(f"refused {name}/{refusal.key}: {refusal.reason}", err=True)
    if any(one.state == "failed" for one in done):
        raise typer.Exit(1)


def _print(found: list[Source]) -> None:
    rows = [
        (s.name, s.kind, s.state, s.seen, s.added, s.changed, s.unchanged, s.removed, s.refused, s.error) for s in found
    ]
    columns = ("source", "kind", "state", ">seen", ">added", ">changed", ">same", ">removed", ">refused", "error")
    print_table(columns, rows, empty="the config names no sources for it")
