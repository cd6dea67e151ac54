"""`headrace models`: what can be named, what runs it, and the files behind it."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import models_files, models_render
from headrace.cli._failures import Failure
from headrace.cli._output import console, print_json, print_table
from headrace.cli._target import Json, Target, connect, group

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from headrace.http import AsyncHeadrace
    from headrace.types.admin import Deployment

app = group("models", "Models: what can be named, what runs it, and the files behind it.")
Name = Annotated[str, typer.Argument(help="A deployment of the config.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done, or only until it has begun.")]
Timeout = Annotated[float, typer.Option(min=1, max=3600, help="Longest wait, in seconds. It goes on afterwards.")]

_LOOK_S = 1.0


@app.command("list")
def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """List the models that your team may name. What runs them, platform engineers see with `headrace models status`.

    Example: headrace models list
    """
    with connect(ctx) as client:
        found = client.models()
    if as_json:
        print_json(found)
    else:
        print_table(("model", "task"), [(model.id, model.task) for model in found], empty="no models")


@app.command()
def status(
    ctx: typer.Context,
    deployments: Annotated[list[str] | None, typer.Argument(help="Default: all, as a table.")] = None,
    as_json: Json = False,
) -> None:
    """Show deployments as they are now: state, version, load; needs an admin key. Exits with 1 unless all are ready.

    Example: headrace models status small
    """
    with connect(ctx, admin=True) as client:
        found = [client.deployment(name) for name in deployments] if deployments else client.deployments()
    if as_json:
        print_json(found)
    elif deployments:
        for deployment in found:
            _print_one(deployment)
    else:
        columns = ("deployment", "engine", "model", "state", ">version", ">running", ">waiting", ">tokens/s")
        rows = [(*_row(deployment), deployment.load_error or deployment.detail) for deployment in found]
        print_table((*columns, ">first token", ">per token", ">KV", ""), rows, empty="no deployments")
    if any(deployment.state != "ready" for deployment in found):
        raise typer.Exit(1)


@app.command()
def load(
    ctx: typer.Context, deployment: Name, wait: Wait = True, timeout: Timeout = 3600, as_json: Json = False
) -> None:
    """Load a deployment. One that serves is loaded anew beside itself, and takes over without a dropped stream.

    Example: headrace models load small
    """
    _act(ctx, "load", deployment, wait, timeout, as_json)


@app.command()
def unload(
    ctx: typer.Context, deployment: Name, wait: Wait = True, timeout: Timeout = 3600, as_json: Json = False
) -> None:
    """Let a deployment's requests end and free its memory. It stays so until it is loaded.

    Example: headrace models unload small --no-wait
    """
    _act(ctx, "unload", deployment, wait, timeout, as_json)


@app.command()
def warm(
    ctx: typer.Context, deployment: Name, wait: Wait = True, timeout: Timeout = 3600, as_json: Json = False
) -> None:
    """Run a deployment's warm-up prompts again.

    Example: headrace models warm small
    """
    _act(ctx, "warm", deployment, wait, timeout, as_json)


models_files.add_to(app)
models_render.add_to(app)


def _act(ctx: typer.Context, action: str, name: str, wait: bool, timeout_s: float, as_json: bool) -> None:
    target: Target = ctx.obj
    found = asyncio.run(_acted(target, action, name, wait, timeout_s, quiet=as_json))
    if as_json:
        print_json(found)
    else:
        _print_one(found)
        if not wait and found.state not in ("ready", "unloaded"):
            typer.echo(f"it goes on; see: headrace models status {name}", err=True)


async def _acted(target: Target, action: str, name: str, wait: bool, timeout_s: float, *, quiet: bool) -> Deployment:
    """Do it; while it is waited for, a terminal shows how it goes."""
    from headrace.errors import ConnectionFailed, TimedOut

    async with target.connect_async(admin=True) as client:
        calls: dict[str, Callable[..., Coroutine[Any, Any, Deployment]]] = {
            "load": client.load_deployment,
            "unload": client.unload_deployment,
            "warm": client.warm_deployment,
        }
        before = await client.deployment(name)  # the platform is there, and knows it
        doing = asyncio.create_task(calls[action](before.name, wait=wait, timeout_s=timeout_s))
        try:
            if wait and not quiet and sys.stderr.isatty():
                await _watched(client, name, doing)
            done = await doing
            return await client.deployment(name) if wait else done
        except (ConnectionFailed, TimedOut) as error:
            raise Failure(f"{error}; what was begun goes on, see: headrace models status {name}") from error
        finally:
            doing.cancel()


async def _watched(client: AsyncHeadrace, name: str, doing: asyncio.Task[Deployment]) -> None:
    """Show the state on standard error until the task is done."""
    from headrace.errors import HeadraceError

    began = time.monotonic()
    with console(err=True).status(name) as shown:
        while not doing.done():
            await asyncio.wait({doing}, timeout=_LOOK_S)
            try:
                state = (await client.deployment(name)).state
            except HeadraceError:
                continue  # the call that is waited for says what is wrong
            shown.update(f"{name}: {state}, {time.monotonic() - began:.0f} s")


def _row(deployment: Deployment) -> tuple[str, ...]:
    head = (deployment.name, deployment.engine, deployment.model, deployment.state, str(deployment.version))
    load = deployment.load
    if load is None:
        return (*head, "", "", "", "", "", "")
    return (
        *head,
        f"{load.running}/{load.slots}",
        str(load.waiting),
        f"{load.tokens_per_second:.1f}",
        f"{load.first_token_ms:.0f} ms" if load.first_token_ms else "",
        f"{load.output_token_ms:.1f} ms" if load.output_token_ms else "",
        "" if load.kv_cache_used is None else f"{load.kv_cache_used:.0%}",
    )


def _print_one(deployment: Deployment) -> None:
    facts = [deployment.name, deployment.state, f"version {deployment.version}", deployment.engine, deployment.model]
    typer.echo(" · ".join(fact for fact in facts if fact))
    load = deployment.load
    if load is not None:
        line = f"{load.running} of {load.slots} slots in use, {load.waiting} waiting"
        typer.echo(f"{line}, {load.tokens_per_second:.1f} tokens/s")
        if load.first_token_ms:
            typer.echo(f"first token after {load.first_token_ms:.0f} ms, then one every {load.output_token_ms:.1f} ms")
    listed = {"tasks": deployment.tasks, "adapters": deployment.adapters, "accepts": deployment.accepts}
    for title, values in listed.items():
        if values:
            typer.echo(f"{title}: {', '.join(values)}")
    for title, text in (("why", deployment.detail), ("the last load failed", deployment.load_error)):
        if text:
            typer.echo(f"{title}: {text}")
