"""`headrace guardrails`: what a policy makes of a text."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from headrace.cli._output import print_json
from headrace.cli._target import Json, connect, group
from headrace.types.guardrails import Direction

app = group("guardrails", "What a policy makes of a text.")


@app.command()
def check(
    ctx: typer.Context,
    policy: Annotated[str, typer.Argument(help="A policy of the config, for example standard.")],
    text: Annotated[str | None, typer.Argument(help="The text; - or nothing reads it from stdin.")] = None,
    direction: Annotated[Direction, typer.Option(help="What the text is to the model.")] = "input",
    as_json: Json = False,
) -> None:
    """Check a text by a policy.

    Example: headrace guardrails check standard "Write to ann@example.com"
    """
    sent = sys.stdin.read() if text in (None, "-") else text
    with connect(ctx) as client:
        verdict = client.check_guardrails(policy, sent or "", direction=direction)
    if as_json:
        print_json(verdict)
        return
    typer.echo(verdict.action)
    if verdict.text != sent:
        typer.echo(verdict.text)
    for found in verdict.findings:
        typer.echo(f"{found.check} {found.kind} at {found.start}-{found.end}: {found.action}")


@app.callback()
def _group() -> None:
    """What a policy makes of a text."""
