"""`headrace memory` and `headrace erase`: what is kept of people."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli._failures import Failure
from headrace.cli._output import print_json, print_table
from headrace.cli._target import Json, connect, group

app = group("memory", "What is kept of people: facts, with their consent, and conversations.")

User = Annotated[str, typer.Argument(help="The person, as your product calls them.")]
Of = Annotated[str | None, typer.Option("--collection", help="The memory, if it is not the one called memory.")]


def add_to(root: typer.Typer) -> None:
    """Add the group, and the command that erases a person."""
    root.add_typer(app)
    root.command()(erase)


@app.command()
def show(ctx: typer.Context, user: User, collection: Of = None, as_json: Json = False) -> None:
    """Show what there is of a person.

    Example: headrace memory show ada
    """
    with connect(ctx) as client:
        state = client.memory(user, collection=collection)
        facts = client.facts(user, collection=collection, limit=1000)
        talks = client.conversations(user, collection=collection, limit=1000)
    if as_json:
        print_json({"memory": state, "facts": facts, "conversations": talks})
        return
    since = f"consented {state.consent_at}" if state.consent else "no consent: no facts can be kept"
    typer.echo(f"{user} in {state.collection}: {since}")
    rows = [(f.id, f.text, f.expires_at) for f in facts]
    print_table(("fact", "text", "expires"), rows, empty="no facts")
    print_table(
        ("conversation", ">turns", "last"), [(t.id, t.length, t.updated_at) for t in talks], empty="no conversations"
    )


@app.command()
def consent(
    ctx: typer.Context,
    user: User,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take it back: the facts are erased.")] = False,
    collection: Of = None,
    as_json: Json = False,
) -> None:
    """Note that a person agrees to facts being kept, or take it back.

    Example: headrace memory consent ada
    """
    with connect(ctx) as client:
        state = client.set_consent(user, not withdraw, collection=collection)
    if as_json:
        print_json(state)
    else:
        typer.echo(f"facts of {user} {'may be kept' if state.consent else 'are erased, and no more are kept'}")


@app.command()
def remember(
    ctx: typer.Context,
    user: User,
    text: Annotated[str, typer.Argument(help="The fact.")],
    id: Annotated[str | None, typer.Option("--id", help="Its id; one that exists is replaced.")] = None,
    expires_at: Annotated[
        str | None, typer.Option("--expires", help="A day or a time, for example 2027-01-31.")
    ] = None,
    collection: Of = None,
    as_json: Json = False,
) -> None:
    """Keep a fact of a person who consented.

    Example: headrace memory remember ada "She prefers trains." --expires 2027-01-31
    """
    from headrace.types.memory import Fact

    with connect(ctx) as client:
        kept = client.remember(user, [Fact(text, id=id, expires_at=expires_at)], collection=collection)
    if as_json:
        print_json(kept)
    else:
        typer.echo(f"kept as {kept.ids[0]}")


@app.command()
def recall(
    ctx: typer.Context,
    user: User,
    query: str,
    top_k: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 5,
    collection: Of = None,
    as_json: Json = False,
) -> None:
    """Find facts of one person.

    Example: headrace memory recall ada "how does she travel?"
    """
    with connect(ctx) as client:
        found = client.recall(user, query, top_k=top_k, collection=collection)
    if as_json:
        print_json(found)
        return
    rows = [(f"{fact.score:.3f}", fact.id, fact.text) for fact in found]
    print_table((">score", "fact", "text"), rows, empty="nothing was found")


@app.command()
def conversation(
    ctx: typer.Context,
    user: User,
    id: Annotated[str, typer.Argument(help="The conversation.")],
    max_tokens: Annotated[int | None, typer.Option(min=1, help="As much as fits.")] = None,
    collection: Of = None,
    as_json: Json = False,
) -> None:
    """Show what a model is told of a conversation: a summary and the newest turns.

    Example: headrace memory conversation ada trip-2027
    """
    with connect(ctx) as client:
        told = client.conversation(user, id, max_tokens=max_tokens, collection=collection)
    if as_json:
        print_json(told)
        return
    if told.summary:
        typer.echo(f"[turns 1 to {told.summarised}] {told.summary}")
    if told.left_out:
        typer.echo(f"[{told.left_out} turns do not fit]")
    for turn in told.turns:
        typer.echo(f"{turn.role}: {turn.text}")


@app.command()
def forget(ctx: typer.Context, user: User, fact: str, collection: Of = None) -> None:
    """Erase a fact of a person.

    Example: headrace memory forget ada 0197f0aa
    """
    with connect(ctx) as client:
        client.forget(user, fact, collection=collection)
    typer.echo(f"{fact} is gone")


def erase(
    ctx: typer.Context,
    user: Annotated[str, typer.Option(help="The person, as your product calls them.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove everything of a person from your team's memories and traces, and report it.

    Example: headrace erase --user ada
    """
    if not yes and not typer.confirm(f"Remove everything of {user}? It cannot be taken back."):
        raise Failure("nothing was removed")
    with connect(ctx) as client:
        erased = client.erase(user)
    if as_json:
        print_json(erased)
    else:
        rows = [
            ("facts", erased.facts),
            ("conversations", erased.conversations),
            ("turns", erased.turns),
            ("consents", erased.consents),
            ("traces", erased.traces),
            ("feedback on others' traces", erased.feedback),
            ("left in memories", erased.left),
        ]
        print_table((f"erased of {user}", ">rows"), rows, empty="")
    if erased.left:
        raise Failure(f"{erased.left} rows are still there: try again")
