"""The command tree. Each command imports what it needs when it runs, so `--help` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli import (
    budget,
    cascade,
    chat,
    collections,
    config,
    costs,
    doctor,
    documents,
    drift,
    evaluate,
    guardrails,
    keys,
    memory,
    models,
    platform,
    retrieval,
    rollouts_more,
    traces_measures,
    usage,
)
from headrace.cli._failures import Commands
from headrace.cli._target import Target

app = typer.Typer(
    name="headrace",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"headrace {version('headrace')}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    url: Annotated[str | None, typer.Option(help="The platform. Default: HEADRACE_URL, or .headrace/env.")] = None,
    api_key: Annotated[
        str | None, typer.Option(help="Your key. Default: HEADRACE_API_KEY or HEADRACE_ADMIN_KEY, or .headrace/env.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """One API for models, retrieval, guardrails and traces.

    \b
    headrace up
    headrace ingest handbook docs/*.md
    headrace chat --collection handbook "How many days of leave do we have?"
    headrace traces show <trace id>
    """
    ctx.obj = Target(url, api_key)


platform.add_to(app)
doctor.add_to(app)
documents.add_to(app)
chat.add_to(app)
usage.add_to(app)
budget.add_to(app)
drift.add_to(app)
app.add_typer(collections.app)
app.add_typer(retrieval.app)
memory.add_to(app)
app.add_typer(traces_measures.app)
app.add_typer(costs.app)
app.add_typer(models.app)
app.add_typer(keys.app)
app.add_typer(rollouts_more.app)
app.add_typer(evaluate.app)
app.add_typer(guardrails.app)
app.add_typer(cascade.app)
app.add_typer(config.app)
