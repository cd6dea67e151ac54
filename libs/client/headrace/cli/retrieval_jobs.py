"""`headrace retrieval jobs`, `failed`, `retry` and `drop`."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli._failures import Failure
from headrace.cli._output import print_json, print_table
from headrace.cli._target import Json, connect
from headrace.types.documents import JobState

Collection = Annotated[str, typer.Argument(help="The collection; see: headrace collections list")]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids that `headrace retrieval failed` prints.")]
All = Annotated[bool, typer.Option("--all", help="All of the collection.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(jobs)
    app.command()(failed)
    app.command()(retry)
    app.command()(drop)


def jobs(
    ctx: typer.Context,
    collection: Collection,
    state: Annotated[JobState | None, typer.Option(help="Only those.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    as_json: Json = False,
) -> None:
    """Show how far ingestions and index versions are, newest first.

    Example: headrace retrieval jobs handbook --state running
    """
    with connect(ctx) as client:
        found = client.jobs(collection, state=state, limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [(j.id, j.kind, j.state, f"{j.done} of {j.documents}", j.failed, j.created_at) for j in found]
    print_table(("job", "kind", "state", ">done", ">failed", "created"), rows, empty="no jobs")


def failed(
    ctx: typer.Context,
    collection: Collection,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 100,
    after: Annotated[str | None, typer.Option(help="Go on behind this id.")] = None,
    as_json: Json = False,
) -> None:
    """List documents that could not be made searchable, and why.

    Example: headrace retrieval failed handbook
    """
    with connect(ctx) as client:
        found = client.dead_letters(collection, limit=limit, after=after)
    if as_json:
        print_json(found)
        return
    rows = [
        (one.id, one.document_id, one.attempts, one.failed_at, ("[new index version] " * one.building) + one.reason)
        for one in found
    ]
    print_table(("id", "document", ">tries", "given up", "reason"), rows, empty="nothing was given up")


def retry(ctx: typer.Context, collection: Collection, ids: Ids = None, everything: All = False) -> None:
    """Try documents again that were given up.

    Example: headrace retrieval retry handbook --all
    """
    with connect(ctx) as client:
        done = client.retry_dead_letters(collection, _which(ids, everything))
    typer.echo(f"{done} wait{'s' * (done == 1)} to be indexed again")


def drop(ctx: typer.Context, collection: Collection, ids: Ids = None, everything: All = False) -> None:
    """Take back texts that were given up; what was searchable before stays.

    Example: headrace retrieval drop handbook 17
    """
    with connect(ctx) as client:
        done = client.drop_dead_letters(collection, _which(ids, everything))
    typer.echo(f"{done} dropped")


def _which(ids: list[str] | None, everything: bool) -> list[str] | None:
    if everything == bool(ids):
        raise Failure("name ids, or say --all; see: headrace retrieval failed COLLECTION")
    return ids or None
