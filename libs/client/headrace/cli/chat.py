"""`headrace chat`: ask a model, in one go or as a conversation."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli._failures import Failure
from headrace.cli._output import console, money, print_json, shortened
from headrace.cli._target import Json, connect

if TYPE_CHECKING:
    from headrace.sync import BlockingChatStream, Headrace
    from headrace.types.chat import ChatOptions, Message


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chat)


def chat(
    ctx: typer.Context,
    prompt: Annotated[str | None, typer.Argument(help="What to ask; - or nothing reads it from stdin.")] = None,
    model: Annotated[str, typer.Option(help="See: headrace models list")] = "assistant",
    collection: Annotated[list[str] | None, typer.Option(help="Ground the answer in it; repeatable.")] = None,
    system: Annotated[str | None, typer.Option(help="Instructions before the conversation.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens to generate.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 is greedy.")] = None,
    guardrails: Annotated[str | None, typer.Option(help="A policy on top of the one in force.")] = None,
    user: Annotated[str | None, typer.Option(help="For whom you ask (key scope assert_identity).")] = None,
    group: Annotated[list[str] | None, typer.Option(help="That person's group; repeatable.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the answer.")] = False,
    as_json: Json = False,
) -> None:
    """Ask a model; the answer streams, then come citations, tokens, cost and the trace id.

    Without a prompt on a terminal it is a conversation: Ctrl-D ends it, Ctrl-C stops an answer.

    Example: headrace chat --collection handbook "How many days of leave do we have?"
    """
    from headrace.types.chat import Message

    given = {
        "model": model,
        "collections": collection,
        "guardrails": guardrails,
        "user": user,
        "groups": group,
        "max_tokens": max_tokens,
        "temperature": temperature,
    }
    options: ChatOptions = {name: value for name, value in given.items() if value is not None}  # type: ignore[assignment]
    turns = [Message("system", system)] if system else []
    with connect(ctx) as client:
        if prompt is None and sys.stdin.isatty() and not as_json:
            _converse(client, turns, options, quiet=quiet)
            return
        text = sys.stdin.read() if prompt in (None, "-") else prompt
        if not text or not text.strip():
            raise Failure('nothing to ask: give a prompt, for example: headrace chat "Say hello."')
        turns.append(Message("user", text))
        if as_json:
            print_json(client.chat(turns, **options))
            return
        with client.chat_stream(turns, **options) as stream:
            _print_answer(stream, model, quiet=quiet)


def _converse(client: Headrace, turns: list[Message], options: ChatOptions, *, quiet: bool) -> None:
    from headrace.cli._failures import describe
    from headrace.errors import HeadraceError
    from headrace.types.chat import Message

    while True:
        try:
            text = input("you> ").strip()
        except EOFError:
            typer.echo()
            return
        if not text:
            continue
        stream = client.chat_stream([*turns, Message("user", text)], **options)
        try:
            with stream:
                _print_answer(stream, options["model"], quiet=quiet)
        except KeyboardInterrupt:
            typer.echo("\n(stopped)")
        except HeadraceError as error:
            typer.echo(f"headrace: {describe(error)}", err=True)
        if stream.text:
            turns += [Message("user", text), Message("assistant", stream.text)]


def _print_answer(stream: BlockingChatStream, model: str, *, quiet: bool) -> None:
    written = False
    try:
        for chunk in stream:
            if chunk.text:
                sys.stdout.write(chunk.text)
                sys.stdout.flush()
                written = True
    finally:
        if written:
            sys.stdout.write("\n")
            sys.stdout.flush()
    if not quiet:
        _print_outcome(stream, model)


def _print_outcome(stream: BlockingChatStream, model: str) -> None:
    from rich.text import Text

    out = console()
    outcome, usage = stream.headrace, stream.usage
    for cited in outcome.citations:
        span = f"{cited.span.start}-{cited.span.end}"
        page = f"page {cited.page}" if cited.page else ""
        place = " ".join(part for part in (cited.collection, cited.document_id, page, span) if part)
        line = Text(f'[{cited.number}] {place} "{shortened(cited.quote, 100)}"')
        out.print(line, style="cyan", soft_wrap=True)
    for found in outcome.guardrails:
        out.print(f"guardrail: {found.direction} {found.check} {found.kind}: {found.action}", style="yellow")
    parts = [f"{model} on {outcome.deployment}" if outcome.deployment else model]
    if usage:
        parts.append(f"{usage.prompt_tokens} tokens in, {usage.completion_tokens} out")
    parts.append(money(outcome.cost_usd))
    if stream.finish_reason != "stop":
        parts.append(f"ended by {stream.finish_reason}")
    if outcome.trace_id:
        parts.append(f"trace {outcome.trace_id}")
    out.print(" · ".join(parts), style="dim", soft_wrap=True)
