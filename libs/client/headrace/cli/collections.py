"""`headrace collections`: places for documents."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli._output import print_json, print_table
from headrace.cli._target import Json, connect, group
from headrace.types.documents import AclMode, CollectionKind

app = group("collections", "Places for documents.")


@app.command("list")
def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """List the collections that you may read.

    Example: headrace collections list
    """
    with connect(ctx) as client:
        found = client.collections()
    if as_json:
        print_json(found)
        return
    rows = [(c.name, c.kind, c.tenant, c.embedding, c.acl, c.created_at) for c in found]
    print_table(("name", "kind", "tenant", "embedding", "acl", "created"), rows, empty="no collections yet")


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="1 to 63 of a-z, 0-9, - and _.")],
    embedding: Annotated[str | None, typer.Option(help="Deployment that embeds its passages.")] = None,
    acl: Annotated[
        AclMode | None, typer.Option(help="required: each document says who may read it; none: all of the team.")
    ] = None,
    kind: Annotated[
        CollectionKind | None, typer.Option(help="documents: what your team shares; memory: what is kept of people.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a collection.

    Example: headrace collections create handbook --acl none
    """
    with connect(ctx) as client:
        made = client.create_collection(name, embedding=embedding, acl=acl, kind=kind)
    if as_json:
        print_json(made)
    elif made.kind == "memory":
        typer.echo(f"{made.name} is there; begin with: headrace memory consent USER --collection {made.name}")
    else:
        typer.echo(f"{made.name} is there; fill it with: headrace ingest {made.name} FILES")


@app.command()
def delete(ctx: typer.Context, name: str, as_json: Json = False) -> None:
    """Remove a collection with its documents.

    Example: headrace collections delete handbook
    """
    with connect(ctx) as client:
        client.delete_collection(name)
    if as_json:
        print_json({"deleted": name})
    else:
        typer.echo(f"{name} is gone")
