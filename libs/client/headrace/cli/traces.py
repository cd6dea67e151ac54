"""`headrace traces`: what happened to a request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli._filters import Where, filters_of
from headrace.cli._output import console, money, print_json, print_table, shortened
from headrace.cli._target import Json, connect, group
from headrace.types.traces import Status

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from headrace.sync import Headrace
    from headrace.types.traces import Trace, TraceSpan

app = group("traces", "What happened to a request.")
_POLL_S = 0.25
_QUESTION = 40
"""Characters of a question in a list."""


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Traces wanted, newest first.")] = 20,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only of those that ended so.")] = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """List your team's newest traces.

    Example: headrace traces list --status error --where collection=handbook
    """
    filters = filters_of(where) | {name: value for name, value in (("model", model), ("status", status)) if value}
    with connect(ctx) as client:
        page = client.traces(limit=limit, **filters)
    if as_json:
        print_json(page.data)
        return
    rows = [
        (
            t.trace_id,
            (t.start_time or "")[:19],
            t.model,
            t.status,
            f"{t.duration_ms:.0f} ms",
            t.input_tokens,
            t.output_tokens,
            money(t.cost_usd),
            shortened(t.question, _QUESTION),
        )
        for t in page.data
    ]
    columns = ("trace", "started", "model", "status", ">took", ">in", ">out", ">cost", "question")
    print_table(columns, rows, empty="no trace is like that" if filters else "no traces yet")


@app.command()
def show(
    ctx: typer.Context,
    trace_id: Annotated[str, typer.Argument(help="32 hexadecimal digits, as headrace chat prints them.")],
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for a trace that has just begun.")] = 10,
    as_json: Json = False,
) -> None:
    """Show one tree of spans over all services, with times, tokens and cost.

    Example: headrace traces show 4bf92f3577b34da6a3ce929d0e0e4736
    """
    with connect(ctx) as client:
        trace = arrived(client, trace_id, wait)
    if as_json:
        print_json(trace)
    else:
        console().print(tree(trace))


@app.command()
def keep(
    ctx: typer.Context,
    trace_id: Annotated[str, typer.Argument(help="32 hexadecimal digits.")],
    as_json: Json = False,
) -> None:
    """Keep the spans of a trace that thinning would delete; a trace with feedback keeps them by itself.

    Example: headrace traces keep 4bf92f3577b34da6a3ce929d0e0e4736
    """
    with connect(ctx) as client:
        found = client.keep_trace(trace_id)
    if as_json:
        print_json(found)
    elif found.spans_thinned:
        typer.echo(f"kept; {found.spans_thinned} of its {found.spans} spans were gone already")
    else:
        typer.echo(f"kept with its {found.spans} spans")


def arrived(client: Headrace, trace_id: str, wait_s: float) -> Trace:
    """The trace, once no span of it misses its parent: services send theirs on their own, a moment after the answer."""
    from headrace.errors import NotFound

    deadline = time.monotonic() + wait_s
    while True:
        late = time.monotonic() >= deadline
        try:
            trace = client.trace(trace_id)
            ids = {span.span_id for span in trace.spans}
            if trace.thinned:
                return trace
            if late or all(span.parent_span_id in ids for span in trace.spans if span.parent_span_id):
                return trace
        except NotFound:
            if late:
                raise
        time.sleep(_POLL_S)


def tree(trace: Trace) -> Tree:
    """The trace as one tree. A span whose parent is not there stands under the root."""
    from rich.text import Text
    from rich.tree import Tree

    head = Text(f"trace {trace.trace_id}  {trace.duration_ms:.1f} ms", style="bold")
    head.append(f"  {trace.input_tokens} in, {trace.output_tokens} out  {money(trace.cost_usd)}  {trace.status}")
    root = Tree(head)
    if trace.thinned:
        gone = (
            f"{trace.thinned} spans are gone: nothing marked this trace, and `thin` of the config keeps only some such"
        )
        root.add(Text(gone, style="yellow"))
    ids = {span.span_id for span in trace.spans}
    children: dict[str, list[TraceSpan]] = {}
    for span in sorted(trace.spans, key=_began):
        children.setdefault(span.parent_span_id if span.parent_span_id in ids else "", []).append(span)
    waiting = [(root, span) for span in reversed(children.get("", ()))]
    while waiting:
        parent, span = waiting.pop()
        node = parent.add(_line(span))
        waiting += [(node, child) for child in reversed(children.get(span.span_id, ()))]
    return root


def _began(span: TraceSpan) -> float:
    from datetime import datetime

    return datetime.fromisoformat(span.start_time).timestamp() if span.start_time else 0.0


def _line(span: TraceSpan) -> Text:
    from rich.text import Text

    line = Text(f"{span.service} ", style="cyan")
    line.append(span.name, style="default")
    line.append(f"  {span.duration_ms:.1f} ms", style="default")
    given = span.attributes
    tokens_in, tokens_out = given.get("gen_ai.usage.input_tokens"), given.get("gen_ai.usage.output_tokens")
    if tokens_in is not None or tokens_out is not None:
        line.append(f"  {int(tokens_in or 0)} in, {int(tokens_out or 0)} out", style="default")
    nano_usd = given.get("headrace.cost_nano_usd")
    if nano_usd:
        line.append(f"  ${int(nano_usd) / 1e9:.9f}".rstrip("0"), style="default")
    if span.status == "error":
        line.append(f"  error {span.status_message}".rstrip(), style="red")
    return line
