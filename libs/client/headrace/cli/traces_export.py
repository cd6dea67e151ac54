"""`headrace traces export`: answers that people judged, as a dataset for evaluations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli._filters import Where, filters_of
from headrace.cli._output import console
from headrace.cli._target import connect
from headrace.cli.traces import app as app

if TYPE_CHECKING:
    from headrace.sync import Headrace
    from headrace.types.traces import Trace

_PAGE = 200


@app.command()
def export(
    ctx: typer.Context,
    dataset: Annotated[Path, typer.Option(help="File to write, a JSON object a line; it must not exist.")],
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most items, newest traces first.")] = 1000,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    session: Annotated[str | None, typer.Option(help="Only of this conversation.")] = None,
    text: Annotated[str | None, typer.Option(help="Only with these words.")] = None,
    label: Annotated[str | None, typer.Option(help="Only with this label of feedback.")] = None,
    min_feedback: Annotated[float | None, typer.Option(min=-1, max=1, help="Least mean score.")] = None,
    max_feedback: Annotated[float | None, typer.Option(min=-1, max=1, help="Highest mean score.")] = None,
    where: Where = None,
) -> None:
    """Write traces as items of a dataset: what was asked, and what the answer should have been where it is known.

    That is the newest correction; else the answer itself where its mean score is above 0. Texts are redacted. Traces
    whose content was not kept are left out, and counted; those that are written keep their spans from then on.

    Example: headrace traces export --dataset good.jsonl --min-feedback 0.5
    """
    if dataset.exists():
        raise typer.BadParameter(f"{dataset} is there already: name another file", param_hint="--dataset")
    named = {
        "model": model, "session": session, "text": text, "label": label, "min_feedback": min_feedback,
        "max_feedback": max_feedback,
    }  # fmt: skip
    filters = filters_of(where) | {name: value for name, value in named.items() if value is not None}
    written = left_out = 0
    with connect(ctx) as client, dataset.open("x", encoding="utf-8") as file:
        for trace in _traces(client, limit, filters):
            made = item(trace)
            if made is None:
                left_out += 1
                continue
            client.keep_trace(trace.trace_id)
            file.write(json.dumps(made, ensure_ascii=False) + "\n")
            written += 1
    console().print(f"{written} items in {dataset}, {left_out} traces left out: their content was not kept")


def _traces(client: Headrace, limit: int, filters: dict[str, Any]) -> Iterator[Trace]:
    token: str | None = None
    while limit > 0:
        page = client.traces(limit=min(limit, _PAGE), page_token=token, **filters)
        for found in page.data:
            yield client.trace(found.trace_id)
        limit -= len(page.data)
        token = page.next_page_token
        if not token:
            return


def item(trace: Trace) -> dict[str, Any] | None:
    """A trace as an item; None where its content was not kept."""
    content, summary = trace.content, trace.summary
    if content is None or not content.input:
        return None
    made: dict[str, Any] = {
        "id": trace.trace_id,
        "input": [{"role": turn.role, "content": turn.text} for turn in content.input],
    }
    corrections = [said.correction for said in trace.feedback if said.correction]
    liked = summary is not None and (summary.feedback or 0) > 0
    if corrections:
        made["expected"] = corrections[-1]
    elif liked and content.output:
        made["expected"] = content.output[0].text
    known = {"model": summary.model, "deployment": summary.deployment, "session": summary.session} if summary else {}
    made["metadata"] = {name: value for name, value in known.items() if value}
    if summary is not None and summary.feedback is not None:
        made["metadata"]["feedback"] = summary.feedback
    return made
