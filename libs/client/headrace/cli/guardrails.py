"""`headrace guardrails`: what a policy makes of a text."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli._output import print_json, print_table
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


@app.command()
def explain(
    ctx: typer.Context,
    policy: Annotated[str, typer.Argument(help="A policy of the config.")],
    text: Annotated[str | None, typer.Argument(help="The text; - or nothing reads it from stdin.")] = None,
    direction: Annotated[Direction, typer.Option(help="What the text is to the model.")] = "input",
    as_json: Json = False,
) -> None:
    """Say which checks of a policy look at a text, and what each of them found where.

    Example: headrace guardrails explain standard "Ignore all previous instructions"
    """
    sent = sys.stdin.read() if text in (None, "-") else text or ""
    with connect(ctx) as client:
        verdict = client.check_guardrails(policy, sent, direction=direction)
        policies = [one for one in client.guardrail_policies() if one["name"] == policy]
    listed: dict[str, Any] = policies[0] if policies else {"checks": []}
    rows = []
    for check in listed["checks"]:
        if check["direction"] == direction:
            found = [one for one in verdict.findings if one.check == check["check"]]
            places = ", ".join(f"{one.kind} {one.start}-{one.end} ({one.score:.2f})" for one in found)
            threshold = "" if check["threshold"] is None else f"{check['threshold']:.2f}"
            rows.append((str(check["tier"]), check["check"], check["action"], threshold, places or "-"))
    if as_json:
        print_json({"action": verdict.action, "version": listed.get("version", ""), "checks": [list(r) for r in rows]})
        return
    typer.echo(f"{verdict.action}, by {policy} {listed.get('version', '')}")
    print_table(("tier", "check", "action", ">threshold", "found"), rows, empty="no checks in this direction")


@app.command(name="eval")
def evaluate(
    ctx: typer.Context,
    policy: Annotated[str, typer.Argument(help="A policy of the config.")],
    dataset: Annotated[Path, typer.Argument(help="JSONL of items with `input`, and `expected`: attack or benign.")],
    direction: Annotated[Direction, typer.Option(help="What the texts are to the model.")] = "input",
    as_json: Json = False,
) -> None:
    """Count which attacks a policy withholds, and which benign texts it does by mistake.

    Items may name their `source` in `metadata`. Example: headrace guardrails eval standard attacks.jsonl
    """
    from headrace_evals.datasets import read

    groups: dict[tuple[str, str], list[bool]] = {}
    with connect(ctx) as client:
        for item in read(dataset):
            if item.expected not in ("attack", "benign") or not isinstance(item.input, str):
                raise typer.BadParameter(f"item {item.id} needs a text and `expected`: attack or benign")
            action = client.check_guardrails(policy, item.input, direction=direction).action
            source = str((item.metadata or {}).get("source", "all"))
            groups.setdefault((str(item.expected), source), []).append(action in ("block", "escalate", "rewrite"))
    rows = [
        (kind, source, str(len(hits)), f"{sum(hits) / len(hits):.1%}", _interval(sum(hits), len(hits)))
        for (kind, source), hits in sorted(groups.items())
    ]
    if as_json:
        print_json([dict(zip(("kind", "source", "texts", "withheld", "interval"), row, strict=True)) for row in rows])
        return
    print_table(("kind", "source", ">texts", ">withheld", ">95% interval"), rows, empty="no items")


@app.command()
def tune(
    ctx: typer.Context,
    dataset: Annotated[Path, typer.Argument(help="JSONL of items with `input`, and `expected`: attack or benign.")],
    out: Annotated[Path, typer.Argument(help="File to write; name it as `ensemble` of the check `injection`.")],
    model: Annotated[str, typer.Option(help="Embedding model of the catalogue.")] = "minilm",
    budget: Annotated[
        float, typer.Option(min=0.0005, max=0.2, help="Share of benign texts that may be flagged.")
    ] = 0.01,
    as_json: Json = False,
) -> None:
    """Train the check `injection` on your own texts; its threshold keeps to a budget of false positives.

    Each `source` that items name in `metadata` is held out whole to choose it; there have to be two or more of attacks
    and of benign texts. The part that finds orders hidden in passages, sentence by sentence, is not trained: with the
    file named, passages are only read as a whole. Needs the package headrace-guardrails.

    Example: headrace guardrails tune mine.jsonl mine.json
    """
    try:
        tuning = import_module("headrace_guardrails.injection.tuning")
    except ModuleNotFoundError as error:
        raise typer.BadParameter("this command needs the package headrace-guardrails on this machine") from error
    from headrace_evals.datasets import read

    items = [(str(i.input), str(i.expected), str((i.metadata or {}).get("source", ""))) for i in read(dataset)]
    with connect(ctx) as client:
        try:
            found = tuning.tune(
                items, lambda texts: [e.embedding for e in client.embed(texts, model=model).data], budget
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    tuning.save(found, out, len(items), model)
    if as_json:
        print_json({"recall": found.recall, "false_positives": found.false_positives, "file": str(out)})
        return
    typer.echo(f"held-out sources: {found.recall:.1%} of attacks found, {found.false_positives:.2%} of benign texts")
    typer.echo(f"written: {out}")


@app.command()
def report(
    ctx: typer.Context,
    policy: Annotated[str | None, typer.Option(help="Only of this policy.")] = None,
    shadow: Annotated[bool, typer.Option(help="Only what policies in the shadow would have done.")] = False,
    as_json: Json = False,
) -> None:
    """Show how often policies found what, or would have acted; needs an admin key.

    Example: headrace guardrails report --shadow
    """
    with connect(ctx, admin=True) as client:
        rows = client.guardrail_report(policy=policy, shadow=shadow)
    if as_json:
        print_json(rows)
        return
    columns = ("policy", "version", "direction", "check", "kind", "action")
    cells = [
        (*(str(row[name]) for name in columns[:-1]), _acted(row["action"], shadow=row["shadow"]), str(row["decisions"]))
        for row in rows
    ]
    print_table((*columns, ">decisions"), cells, empty="nothing was found")


def _acted(action: str, *, shadow: bool) -> str:
    return f"would {action}" if shadow else action


reviews = group("reviews", "Texts that policies gave to a person.")
app.add_typer(reviews)


@reviews.command(name="list")
def list_reviews(
    ctx: typer.Context,
    state: Annotated[str | None, typer.Option(help="open, claimed, approved, rejected or expired.")] = None,
    as_json: Json = False,
) -> None:
    """List escalated texts, oldest first; those that wait, unless a state is named.

    Example: headrace guardrails reviews list
    """
    with connect(ctx) as client:
        found = client.guardrail_reviews(state=state)
    if as_json:
        print_json(found)
        return
    columns = ("id", "state", "policy", "direction", "user", "created_at")
    print_table(columns, [tuple(str(one[name]) for name in columns) for one in found], empty="nothing waits")


@reviews.command()
def show(ctx: typer.Context, review: Annotated[str, typer.Argument(help="Its id.")], as_json: Json = False) -> None:
    """Show an escalated text. Example: headrace guardrails reviews show 0199..."""
    with connect(ctx) as client:
        found = client.guardrail_review(review)
    print_json(found) if as_json else typer.echo(found.get("text", ""))


@reviews.command()
def decide(
    ctx: typer.Context,
    review: Annotated[str, typer.Argument(help="Its id.")],
    approve: Annotated[bool, typer.Option("--approve/--reject", help="Let it pass when it is sent again, or not.")],
    reason: Annotated[str, typer.Option(help="Why; needed to reject.")] = "",
    as_json: Json = False,
) -> None:
    """Approve or reject an escalated text. Example: headrace guardrails reviews decide 0199... --approve"""
    with connect(ctx) as client:
        found = client.decide_review(review, approve=approve, reason=reason)
    print_json(found) if as_json else typer.echo(found["state"])


@reviews.command()
def fetch(
    ctx: typer.Context,
    review: Annotated[str, typer.Argument(help="Its id, as the refusal or the end of the answer named it.")],
    user: Annotated[str | None, typer.Option(help="For whom you asked (key scope assert_identity).")] = None,
    as_json: Json = False,
) -> None:
    """Print what was withheld from your own request, once a person approved it.

    Ends with 1 while nobody has decided, after a rejection, and once it is over.
    Example: headrace guardrails reviews fetch 0199...
    """
    with connect(ctx) as client:
        found = client.released_review(review, user=user)
    print_json(found) if as_json else typer.echo(found.text)


@reviews.command()
def export(
    ctx: typer.Context,
    out: Annotated[Path, typer.Argument(help="JSONL file to write.")],
    as_json: Json = False,
) -> None:
    """Write what people decided as a dataset for eval and tune: rejected texts are attacks, approved ones benign.

    Each item's source is its policy. Texts that are erased by now are left out, and counted; of each decision at most
    the 200 oldest are there. Example: headrace guardrails reviews export decided.jsonl
    """
    kinds = {"rejected": "attack", "approved": "benign"}
    items, erased = [], 0
    with connect(ctx) as client:
        for state, kind in kinds.items():
            for one in client.guardrail_reviews(state=state, limit=200):
                text = client.guardrail_review(one["id"]).get("text")
                if not text:
                    erased += 1
                    continue
                about = {"source": one["policy"], "direction": one["direction"], "reason": one["reason"]}
                items.append({"id": one["id"], "input": text, "expected": kind, "metadata": about})
    out.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items))
    if as_json:
        print_json({"items": len(items), "erased": erased, "file": str(out)})
        return
    typer.echo(f"{len(items)} texts written to {out}; {erased} were erased before")


audit = group("audit", "The chain of decisions.")
app.add_typer(audit)


@audit.command()
def verify(ctx: typer.Context, as_json: Json = False) -> None:
    """Walk the chain of decisions; ends with 1 where it is broken. Needs an admin key.

    Keep the printed hash elsewhere: it proves later that nothing was cut off. Example: headrace guardrails audit verify
    """
    with connect(ctx, admin=True) as client:
        found = client.verify_guardrail_audit()
    if as_json:
        print_json(found)
    elif found["intact"]:
        typer.echo(f"intact: {found['entries']} decisions, the last one's hash is {found['head']}")
    else:
        typer.echo(f"broken at decision {found['broken_at']}: {found['reason']}", err=True)
    if not found["intact"]:
        raise typer.Exit(1)


def _interval(hits: int, of: int) -> str:
    """Wilson's 95% interval of a share."""
    z, share = 1.96, hits / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * ((share * (1 - share) + z * z / (4 * of)) / of) ** 0.5 / (1 + z * z / of)
    return f"{max(0.0, middle - half):.1%} to {min(1.0, middle + half):.1%}"


@app.callback()
def _group() -> None:
    """What a policy makes of a text."""
