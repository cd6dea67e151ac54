"""`headrace traces stats|compare|sessions`: requests summed up, and side by side."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from headrace.cli._filters import Where, filters_of
from headrace.cli._output import money, print_json, print_table, shortened
from headrace.cli._target import Json, connect
from headrace.cli.traces_replay import app as app
from headrace.types.measures import Difference, Percentiles

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_QUESTION = 60
_MARKED, _LEAST_P, _WHOLE_MS = 0.05, 0.001, 10


@app.command()
def stats(
    ctx: typer.Context,
    group_by: Annotated[
        str, typer.Option(help="With commas, at most 4: model, deployment, arm, tenant, status, error, user, ...")
    ] = "model",
    bucket: Annotated[str, typer.Option(help="Length of a span of time, for example 1h or 1d. Default: one.")] = "",
    where: Where = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most rows.")] = 1000,
    as_json: Json = False,
) -> None:
    """Sum requests up: errors, times, tokens and cost of the last day, by any dimension and time.

    Example: headrace traces stats --group-by model,arm --bucket 1h --where from=2026-11-30T00:00:00Z
    """
    names = [name for name in group_by.split(",") if name]
    filters = filters_of(where)
    with connect(ctx) as client:
        found = client.measure(group_by=names, bucket_s=_seconds(bucket), limit=limit, **filters)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            *([(row.time or "")[:16]] if bucket else []),
            *(row.group.get(name) or "none" for name in names),
            row.measures.requests,
            _share(row.measures.error_rate),
            _times(row.measures.ttft_ms),
            _times(row.measures.duration_ms),
            row.measures.input_tokens,
            row.measures.output_tokens,
            money(row.measures.cost_usd),
        )
        for row in found.data
    ]
    sums = (">requests", ">errors", ">first token p50/p95", ">duration p50/p95", ">in", ">out", ">cost")
    print_table((*(["time"] if bucket else []), *names, *sums), rows, empty="no request in this time")
    if found.more:
        typer.echo(f"there are more: --limit is {limit}", err=True)


@app.command()
def compare(
    ctx: typer.Context,
    a: Annotated[str, typer.Argument(help="Filters of one side, as name=value, with commas.")],
    b: Annotated[str, typer.Argument(help="Filters of the other.")],
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Hold two sets of requests against each other: two arms, two models, two weeks.

    A p below 0.05 is marked: chance alone rarely differs as much.

    Example: headrace traces compare arm=baseline arm=candidate --where model=assistant
    """
    sides = [filters_of(side.split(","), name) for side, name in ((a, "A"), (b, "B"))]
    filters = filters_of(where)
    with connect(ctx) as client:
        found = client.compare(*sides, **filters)
    if as_json:
        print_json(found)
        return
    counts: list[tuple[str, ...]] = [
        ("requests", *(str(side.requests) for side in (found.a, found.b)), "", ""),
        ("duration p50/p95", *(_times(side.duration_ms) for side in (found.a, found.b)), "", ""),
        ("cost, sum", *(money(side.cost_usd) for side in (found.a, found.b)), "", ""),
    ]
    rows = [*counts, *(_difference(one) for one in found.differences)]
    print_table(("measure", f">{a}", f">{b}", ">change", ">p"), rows, empty="")


@app.command()
def sessions(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Sessions wanted, newest first.")] = 20,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """List conversations: requests with one conversation id.

    Example: headrace traces sessions --where user=ada
    """
    filters = filters_of(where)
    with connect(ctx) as client:
        page = client.sessions(limit=limit, **filters)
    if as_json:
        print_json(page.data)
        return
    rows = [
        (
            one.session,
            (one.end_time or "")[:19],
            one.traces,
            one.errors,
            one.input_tokens,
            one.output_tokens,
            money(one.cost_usd),
            "" if one.feedback is None else f"{one.feedback:+.2f}",
            shortened(one.question, _QUESTION),
        )
        for one in page.data
    ]
    columns = ("session", "last", ">requests", ">errors", ">in", ">out", ">cost", ">feedback", "began with")
    print_table(columns, rows, empty="no conversation is like that" if filters else "no conversations yet")


def _seconds(text: str) -> int:
    if not text:
        return 0
    if (found := re.fullmatch(r"(\d+)([smhd])", text)) is None:
        raise typer.BadParameter(f"{text!r} is no time such as 30m, 1h or 1d", param_hint="--bucket")
    return int(found[1]) * _UNITS[found[2]]


def _share(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.1%}"


def _times(of: Percentiles) -> str:
    return "" if of.p50 is None or of.p95 is None else f"{of.p50:.0f}/{of.p95:.0f} ms"


def _difference(one: Difference) -> tuple[str, ...]:
    def shown(value: float | None) -> str:
        if value is None:
            return ""
        if one.measure.endswith("_rate"):
            return f"{value:.2%}"
        if one.measure.endswith("_ms"):
            return f"{value:.0f} ms" if value >= _WHOLE_MS else f"{value:.2g} ms"
        return f"${value:.3g}" if one.measure.endswith("_usd") else f"{value:.3g}"

    change = "" if one.change is None else f"{one.change:+.1%}"
    p = "" if one.p_value is None else _chance(one.p_value)
    return one.measure, shown(one.a), shown(one.b), change, p


def _chance(p: float) -> str:
    told = f"< {_LEAST_P}" if p < _LEAST_P else f"{p:.3f}"
    return f"{told} *" if p < _MARKED else told
