"""`headrace costs`: whether the ledger is right, what the month will cost, and hours that stand out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from headrace.cli._output import console, money, print_json, print_table
from headrace.cli._target import Json, connect, group

app = group("costs", "Whether the ledger is right, what the month will cost, and hours that stand out.")
_DIFFERING = ("tokens_differ", "cost_differs")
_SAID = {
    "same": "agree with the engine's count, to the token and the nano-dollar",
    "tokens_differ": "differ in tokens",
    "cost_differs": "differ in cost",
    "open": "have not ended",
    "unused": "reached no engine and cost nothing",
    "not_counted": "were counted by nobody else (endpoints outside, vectors, or too long ago)",
}


@app.command()
def reconcile(
    ctx: typer.Context,
    start: Annotated[str | None, typer.Option("--from", help="First day or time. Default: a day ago.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Day or time before which to end. Default: now.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this team's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=50_000, help="Most attempts, the newest.")] = 10_000,
    as_json: Json = False,
) -> None:
    """Hold the ledger against the engines' own counts, request by request. Exits with 1 when something differs.

    Inference remembers the newest 50,000 attempts of each replica, until it restarts. Needs an admin key.

    Example: headrace costs reconcile --from 2026-11-01
    """
    since = start or (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    with connect(ctx, admin=True) as client:
        found = client.reconcile(start=since, end=end, tenant=tenant, limit=limit)
    if as_json:
        print_json(found)
    else:
        console().print(f"{found.attempts} attempts" + (", the newest of more" if found.cut else ""))
        for held, often in found.counts.items():
            if often:
                console().print(f"  {often} {_SAID.get(held, held)}")
        rows = [
            (
                one.trace_id or one.request_id,
                one.deployment,
                one.held.replace("_", " "),
                f"{one.ledger.input_tokens} / {one.ledger.output_tokens}",
                f"{one.engine.input_tokens} / {one.engine.output_tokens}",
                money(one.ledger.cost_usd),
                money(one.engine.cost_usd) if one.engine.cost_usd else "?",
            )
            for one in found.differences
        ]
        if rows:
            print_table(("trace", "deployment", "what", ">ledger", ">engine", ">cost", ">should be"), rows, empty="")
    if any(found.counts.get(held) for held in _DIFFERING):
        raise typer.Exit(1)


@app.command()
def forecast(
    ctx: typer.Context,
    by_model: Annotated[bool, typer.Option("--by-model", help="A line for each model.")] = False,
    as_json: Json = False,
) -> None:
    """What the month will have cost at its end, by the days before.

    Each day to come costs what such days (the same weekday) cost in the last four weeks; the interval holds 8 of 10
    sums of days drawn so.

    Example: headrace costs forecast --by-model
    """
    from headrace.costs import HISTORY_DAYS, by_day
    from headrace.costs import forecast as reckon

    today = datetime.now(UTC).date()
    start = min(today - timedelta(days=HISTORY_DAYS), today.replace(day=1))
    dimensions = ["model", "day"] if by_model else ["day"]
    with connect(ctx) as client:
        rows = client.usage(group_by=dimensions, start=start.isoformat())
    names = sorted({row.groups["model"] for row in rows}) if by_model else ["all"]
    told = {
        name: reckon(by_day(row for row in rows if not by_model or row.groups["model"] == name), today)
        for name in names
    }
    if as_json:
        print_json(told)
        return
    table = [
        (name, f"${one.so_far:.4f}", f"${one.expected:.4f}", f"${one.low:.4f} to ${one.high:.4f}", one.days_seen)
        for name, one in told.items()
    ]
    print_table(("model" if by_model else "", ">so far", ">month's end", ">8 of 10", ">days seen"), table, empty="")


@app.command()
def anomalies(
    ctx: typer.Context,
    days: Annotated[int, typer.Option(min=2, max=60, help="Days to look at.")] = 14,
    above: Annotated[float, typer.Option(min=2, help="Robust z-score from which an hour stands out.")] = 6.0,
    least_usd: Annotated[float, typer.Option(min=0, help="Hours cheaper than that never stand out.")] = 0.01,
    last: Annotated[int, typer.Option(min=0, help="Look for such hours among the last N alone; 0: among all.")] = 0,
    as_json: Json = False,
) -> None:
    """Hours in which a team spent far more than it usually does. Exits with 1 when there is one.

    Example: headrace costs anomalies --last 2
    """
    from headrace.costs import anomalies as standing_out

    now = datetime.now(UTC)
    with connect(ctx) as client:
        rows = client.usage(group_by=["tenant", "hour"], start=(now - timedelta(days=days)).strftime("%Y-%m-%d"))
    found = standing_out(rows, above=above, least_usd=least_usd)
    if last:
        since = now - timedelta(hours=last)
        found = [one for one in found if datetime.fromisoformat(one.hour) >= since]
    if as_json:
        print_json(found)
    else:
        table = [
            (one.tenant, one.hour, f"${one.cost_usd:.4f}", f"${one.usual_usd:.4f}", f"{one.z:.1f}") for one in found
        ]
        print_table(("team", "hour", ">cost", ">usual", ">z"), table, empty="no hour stands out")
    if found:
        raise typer.Exit(1)
