"""`headrace ingest` and `headrace search`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli._output import console, print_json, print_table, shortened
from headrace.cli._target import Json, connect
from headrace.types.documents import Freshness, Mode, Rewrite, Turn

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress

    from headrace.cli._files import Skipped
    from headrace.sync import Headrace
    from headrace.types.documents import Acl, Document, Passage


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(ingest)
    app.command()(search)


def ingest(
    ctx: typer.Context,
    collection: Annotated[str, typer.Argument(help="Where to; see: headrace collections list")],
    files: Annotated[list[str], typer.Argument(help="Files, folders or quoted globs: PDF, Office, HTML, mail, text.")],
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when they are searchable, or stored.")] = True,
    public: Annotated[bool, typer.Option("--public", help="Everybody in its teams may read them.")] = False,
    user: Annotated[list[str] | None, typer.Option(help="A person who may read them; repeatable.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group that may read them; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Store documents; a document's id is its path, and one that exists is replaced.

    Example: headrace ingest handbook docs/*.md
    """
    from headrace.cli import _files
    from headrace.types.documents import Acl

    acl = Acl(user or [], group or [], public) if public or user or group else None
    found = _files.find(files)
    uploads = [path for path in found if path.suffix.lower() in _files.READ_THERE]
    documents, skipped = _files.read([path for path in found if path not in uploads], acl)
    taken = [document.id for document in documents]
    _files.apart(taken, uploads)
    with connect(ctx) as client:
        jobs = _send(client, collection, documents, wait=wait, quiet=as_json)
        sent, refused = _upload(client, collection, uploads, acl, wait=wait, quiet=as_json)
    skipped += refused
    jobs += sent.values()
    accepted = [*taken, *sent]
    if not as_json:
        for entry in skipped:
            typer.echo(f"skipped {entry.file}: {entry.reason}", err=True)
    if as_json:
        print_json({"collection": collection, "documents": accepted, "jobs": jobs, "skipped": skipped})
    elif accepted:
        state = "searchable" if wait else "stored, searchable in a moment"
        typer.echo(f"{len(accepted)} document{'s' * (len(accepted) != 1)} in {collection}, {state}")
    if not accepted:
        if not as_json:
            typer.echo("headrace: none of these files is a document that can be read", err=True)
        raise typer.Exit(1)


def _send(client: Headrace, collection: str, documents: list[Document], *, wait: bool, quiet: bool) -> list[str]:
    from headrace.cli._files import batches

    jobs = []
    with _progress(quiet) as progress:
        task = progress.add_task(f"ingesting into {collection}", total=len(documents))
        for batch in batches(documents):
            jobs.append(client.ingest(collection, batch, wait=wait).job)
            progress.advance(task, len(batch))
    return jobs


def _upload(
    client: Headrace, collection: str, paths: list[Path], acl: Acl | None, *, wait: bool, quiet: bool
) -> tuple[dict[str, str], list[Skipped]]:
    """Send files as they are, one by one; returns the job of each, and what was refused and why."""
    from headrace.cli._files import Skipped, identity
    from headrace.errors import BadRequest

    jobs: dict[str, str] = {}
    refused = []
    with _progress(quiet) as progress:
        task = progress.add_task(f"uploading to {collection}", total=len(paths))
        for path in paths:
            id = identity(path)
            try:
                jobs[id] = client.ingest_file(collection, path.read_bytes(), path.name, id=id, acl=acl, wait=wait).job
            except BadRequest as error:
                if not (error.param or "").startswith("files"):
                    raise
                refused.append(Skipped(str(path), error.message))
            progress.advance(task)
    return jobs, refused


def _progress(quiet: bool) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = sys.stderr.isatty() and not quiet
    return Progress(*columns, console=console(err=True), transient=True, disable=not shown)


def search(
    ctx: typer.Context,
    collection: Annotated[str, typer.Argument(help="Where to look.")],
    query: Annotated[str, typer.Argument(help="What to look for.")],
    mode: Annotated[Mode, typer.Option(help="BM25 and vectors fused, or one of them.")] = "hybrid",
    top_k: Annotated[int, typer.Option(min=1, max=100, help="Passages wanted.")] = 10,
    rerank: Annotated[
        bool | None, typer.Option("--rerank/--no-rerank", help="Order the best by the cross-encoder, or not.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the score of each stage.")] = False,
    diversity: Annotated[
        float, typer.Option(min=0, max=1, help="How far passages go back that say what a better one says.")
    ] = 0.0,
    fresh_by: Annotated[str | None, typer.Option(help="Metadata field with a date: old passages go back.")] = None,
    half_life_days: Annotated[
        float, typer.Option(min=0.01, help="Days in which a score halves, with --fresh-by.")
    ] = 90,
    window: Annotated[int, typer.Option(min=0, max=40, help="Pieces on either side that come with each passage.")] = 0,
    wordings: Annotated[int, typer.Option(min=0, max=5, help="Let a model ask in so many other words too.")] = 0,
    hypothetical: Annotated[
        bool, typer.Option("--hypothetical", help="Search for an answer that a model makes up too.")
    ] = False,
    said: Annotated[
        list[str] | None, typer.Option(help="What you said before: the query is made to stand by itself; repeatable.")
    ] = None,
    section: Annotated[bool, typer.Option("--section", help="Bring all that stands under the same headings.")] = False,
    as_json: Json = False,
) -> None:
    """Find passages, best first.

    Example: headrace search handbook "paid leave" --top-k 3 --explain
    """
    with connect(ctx) as client:
        found = client.search(
            collection,
            query,
            top_k=top_k,
            mode=mode,
            rerank=rerank,
            explain=explain,
            diversity=diversity,
            freshness=Freshness(fresh_by, half_life_days) if fresh_by else None,
            window=window,
            section=section,
            rewrite=_rewrite(wordings, hypothetical, said or []),
        )
    if as_json:
        print_json(found)
        return
    columns = [">score", "document", "place", "text"] + (["stages"] if explain else [])
    rows = [
        [f"{p.score:.4f}", p.document_id, _place(p), shortened(p.text, 50 if explain else 90)]
        + ([" ".join(f"{name}={score:.4f}" for name, score in (p.scores or {}).items())] if explain else [])
        for p in found
    ]
    print_table(columns, rows, empty="nothing found")


def _rewrite(wordings: int, hypothetical: bool, said: list[str]) -> Rewrite | None:
    if not (wordings or hypothetical or said):
        return None
    return Rewrite(bool(said), wordings, hypothetical, tuple(Turn("user", text) for text in said))


def _place(passage: Passage) -> str:
    span = f"{passage.span.start}-{passage.span.end}"
    return f"page {passage.page}, {span}" if passage.page else span
