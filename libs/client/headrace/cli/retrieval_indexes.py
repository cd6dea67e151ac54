"""`headrace retrieval indexes` and `reindex`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli._failures import Failure
from headrace.cli._output import console, print_json, print_table
from headrace.cli._target import Json, connect

if TYPE_CHECKING:
    from headrace.sync import Headrace
    from headrace.types.documents import Job

Collection = Annotated[str, typer.Argument(help="The collection; see: headrace collections list")]
_LOOK_S = 0.5


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(indexes)
    app.command()(reindex)


def indexes(ctx: typer.Context, collection: Collection, as_json: Json = False) -> None:
    """Show how a collection is cut and embedded, and which other way is being built.

    Example: headrace retrieval indexes handbook
    """
    with connect(ctx) as client:
        found = client.indexes(collection)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one.state,
            one.embedding,
            one.max_tokens,
            one.overlap_tokens,
            f"{one.job.done} of {one.job.documents}" if one.job and one.state == "building" else "",
            one.created_at,
        )
        for one in found
    ]
    print_table(("state", "embedding", ">tokens", ">overlap", ">done", "created"), rows, empty="no index")


def reindex(
    ctx: typer.Context,
    collection: Collection,
    embedding: Annotated[str | None, typer.Option(help="Deployment that embeds from then on.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=16, max=2048, help="Longest passage, in tokens.")] = None,
    overlap_tokens: Annotated[int | None, typer.Option(min=0, max=512, help="Tokens that neighbours share.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Although nothing changes.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give up what is being built.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until it has taken over.")] = True,
    as_json: Json = False,
) -> None:
    """Build another index version beside the active one, which it replaces when it has every document.

    Searches go on meanwhile. It goes on when this command is ended.

    Example: headrace retrieval reindex handbook --embedding e5
    """
    with connect(ctx) as client:
        if cancel:
            client.cancel_reindex(collection)
            typer.echo("what was being built is given up")
            return
        job = client.reindex(
            collection, embedding=embedding, max_tokens=max_tokens, overlap_tokens=overlap_tokens, again=again
        )
        if wait:
            job = _follow(client, collection, job, as_json)
    if as_json:
        print_json(job)
    elif wait:
        typer.echo(f"{collection} has its new index version: {job.done} documents")
    else:
        typer.echo(f"it is being built; see: headrace retrieval indexes {collection}")


def _follow(client: Headrace, collection: str, job: Job, quiet: bool) -> Job:
    """Show how far a job is until its index version has taken over."""
    from rich.progress import Progress

    with Progress(console=console(err=True), transient=True, disable=quiet) as shown:
        bar = shown.add_task(collection, total=job.documents)
        while True:
            building = [one for one in client.indexes(collection) if one.state == "building"]
            job = client.job(collection, job.id)
            shown.update(bar, completed=job.done, total=job.documents)
            if not any(one.job is not None and one.job.id == job.id for one in building):
                return job
            if job.failed and job.done + job.failed == job.documents:
                raise Failure(
                    f"{job.failed} documents cannot be put into it, so it waits; "
                    f"see: headrace retrieval failed {collection}"
                )
            time.sleep(_LOOK_S)
