"""`headrace keys`: API keys, for platform engineers."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli._output import print_json, print_table
from headrace.cli._target import Json, connect, group

app = group("keys", "API keys; needs an admin key (HEADRACE_ADMIN_KEY).")


@app.command()
def create(
    ctx: typer.Context,
    tenant: Annotated[str, typer.Argument(help="A tenant of the config.")],
    name: Annotated[str, typer.Argument(help="For people, for example ci.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="admin, assert_identity or read_all; repeatable. Default: none.")
    ] = None,
    expires_at: Annotated[str | None, typer.Option(help="RFC 3339, for example 2027-01-01T00:00:00Z.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once.

    Example: headrace keys create search-team ci --scope assert_identity
    """
    with connect(ctx, admin=True) as client:
        made = client.create_key(tenant, name, scopes=scope or (), expires_at=expires_at)
    if as_json:
        print_json(made)
    else:
        typer.echo(made.key)
        typer.echo(f"key {made.id} of {tenant}; it is shown only now", err=True)


@app.command("list")
def list_(
    ctx: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    as_json: Json = False,
) -> None:
    """List keys without their secrets.

    Example: headrace keys list --tenant search-team
    """
    with connect(ctx, admin=True) as client:
        found = client.keys(tenant=tenant)
    if as_json:
        print_json(found)
        return
    rows = [(k.id, k.tenant, k.name, " ".join(k.scopes), k.created_at, k.expires_at, k.revoked_at) for k in found]
    print_table(("id", "tenant", "name", "scopes", "created", "expires", "revoked"), rows, empty="no keys")


@app.command()
def rotate(
    ctx: typer.Context,
    key_id: str,
    overlap: Annotated[str, typer.Option(help="How long the old secret stays good: 30m, 12h, 1d.")] = "1d",
    as_json: Json = False,
) -> None:
    """Give a key a new secret and print it, this once; the old one stays good for a while.

    Example: headrace keys rotate 0193... --overlap 12h
    """
    with connect(ctx, admin=True) as client:
        made = client.rotate_key(key_id, overlap=overlap)
    if as_json:
        print_json(made)
    else:
        typer.echo(made.key)
        typer.echo(f"key {made.id}: the old secret is good for {overlap} more; this one is shown only now", err=True)


@app.command()
def revoke(ctx: typer.Context, key_id: str, as_json: Json = False) -> None:
    """End a key everywhere.

    Example: headrace keys revoke 0193...
    """
    with connect(ctx, admin=True) as client:
        client.revoke_key(key_id)
    if as_json:
        print_json({"revoked": key_id})
    else:
        typer.echo(f"{key_id} is revoked")
