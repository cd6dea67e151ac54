"""`headrace keys`: API keys, for platform engineers."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli._output import print_json, print_table
from headrace.cli._target import Json, connect, group
from headrace.types.admin import KeyLimits

Requests = Annotated[int | None, typer.Option("--requests-per-minute", help="Over all gateways.", min=1)]
Tokens = Annotated[int | None, typer.Option("--tokens-per-minute", help="Over all gateways.", min=1)]
Concurrent = Annotated[int | None, typer.Option("--concurrent", help="Requests at one time, per gateway.", min=1)]

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
    requests_per_minute: Requests = None,
    tokens_per_minute: Tokens = None,
    concurrent: Concurrent = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once. Limits of its own hold besides its team's.

    Example: headrace keys create search-team ci --scope assert_identity --requests-per-minute 60
    """
    limits = _limits(requests_per_minute, tokens_per_minute, concurrent)
    with connect(ctx, admin=True) as client:
        made = client.create_key(tenant, name, scopes=scope or (), expires_at=expires_at, limits=limits)
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
    rows = [
        (k.id, k.tenant, k.name, " ".join(k.scopes), _shown(k.limits), k.created_at, k.expires_at, k.revoked_at)
        for k in found
    ]
    names = ("id", "tenant", "name", "scopes", "limits", "created", "expires", "revoked")
    print_table(names, rows, empty="no keys")


@app.command()
def limit(
    ctx: typer.Context,
    key_id: str,
    requests_per_minute: Requests = None,
    tokens_per_minute: Tokens = None,
    concurrent: Concurrent = None,
    as_json: Json = False,
) -> None:
    """Give a key limits of its own in place of those it has; without options: none.

    Example: headrace keys limit 0193... --requests-per-minute 60 --concurrent 4
    """
    with connect(ctx, admin=True) as client:
        key = client.limit_key(key_id, _limits(requests_per_minute, tokens_per_minute, concurrent))
    if as_json:
        print_json(key)
    else:
        typer.echo(f"key {key.id} of {key.tenant}: {_shown(key.limits) or 'no limits of its own'}")


def _limits(requests: int | None, tokens: int | None, concurrent: int | None) -> KeyLimits | None:
    limits = KeyLimits(requests, tokens, concurrent)
    return None if limits == KeyLimits() else limits


def _shown(limits: KeyLimits | None) -> str:
    if limits is None:
        return ""
    said = (
        (limits.requests_per_minute, "requests/min"),
        (limits.tokens_per_minute, "tokens/min"),
        (limits.concurrent_requests, "at once"),
    )
    return ", ".join(f"{count} {what}" for count, what in said if count is not None)


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
