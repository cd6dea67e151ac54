"""`headrace traces replay`: a request run again from its trace, side by side with what it was."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli._filters import Where, filters_of
from headrace.cli._output import console, money, print_json, print_table, shortened
from headrace.cli._target import Json, connect
from headrace.cli.traces import arrived
from headrace.cli.traces_export import app as app

if TYPE_CHECKING:
    from headrace.replaying.compare import Stage
    from headrace.sync import Headrace
    from headrace.types.traces import Trace

_PAGE = 200
_WAIT_S = 15.0
_MARKS = {"same": "=", "differs": "≠", "unknown": "?"}


@app.command()
def replay(
    ctx: typer.Context,
    trace_id: Annotated[str | None, typer.Argument(help="32 hexadecimal digits; or give --where.")] = None,
    where: Where = None,
    against: Annotated[
        str | None, typer.Option(help="Deployment that answers in place of routing; needs an admin key.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask in place of the one of the trace.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most traces with --where, newest first.")] = 50,
    full: Annotated[
        bool, typer.Option(help="Use content as it was sent, where it is kept; needs an admin key.")
    ] = False,
    strict: Annotated[bool, typer.Option(help="Exit with 1 unless everything came out the same.")] = False,
    as_json: Json = False,
) -> None:
    """Run a request again, from what its trace kept, and show what came out otherwise, stage by stage.

    The request is made again: messages, options, collections; it is answered by today's config, passages and models,
    or by --against or --model. The cache is not asked. What the record lacks is said. The run is a request as any
    other, and costs what it costs. With --where all that match are replayed.

    Example: headrace traces replay --where model=assistant --where max_feedback=-0.5 --against large
    """
    from headrace.replaying.rebuild import CannotReplay

    if (trace_id is None) == (not where):
        raise typer.BadParameter("give a trace id, or --where", param_hint="TRACE_ID")
    done: list[dict[str, Any]] = []
    admin = bool(against) or full
    with connect(ctx, admin=admin) as client, ExitStack() as teams:

        @functools.cache
        def asking(tenant: str) -> Headrace:
            """Who asks again: the team whose trace it is, with its documents and limits, also for an admin."""
            return teams.enter_context(connect(ctx, admin=True, tenant=tenant)) if admin and tenant else client

        wanted = [trace_id] if trace_id else _matching(client, where or [], limit)
        for id_ in wanted:
            try:
                before = client.trace(id_, full=full)
                tenant = before.summary.tenant if before.summary else ""
                outcome = _again(client, asking(tenant), before, model=model, against=against, full=full)
            except CannotReplay as error:
                outcome = {"trace_id": id_, "error": str(error)}
            done.append(outcome)
            if trace_id is None and not as_json:
                _line(outcome)
    if as_json:
        print_json(done[0] if trace_id else {"replays": done, "summary": _summary(done)})
    elif trace_id:
        _side_by_side(done[0])
    else:
        _print_summary(_summary(done))
    if trace_id and "error" in done[0]:
        raise typer.Exit(1)
    if strict and not all(one.get("reproduced") for one in done):
        raise typer.Exit(1)


def _again(
    client: Headrace, asking: Headrace, before: Trace, *, model: str | None, against: str | None, full: bool
) -> dict[str, Any]:
    from headrace.errors import HeadraceError
    from headrace.replaying.compare import reproduced, stages
    from headrace.replaying.rebuild import CannotReplay, rebuild

    made = rebuild(before, model=model, against=against)
    try:
        answer = asking.chat(made.messages, **made.options)
    except HeadraceError as error:
        raise CannotReplay(f"the new run was refused: {error}") from error
    if not answer.headrace.trace_id:
        raise CannotReplay("the new run was not traced")
    arrived(client, answer.headrace.trace_id, _WAIT_S)
    after = client.trace(answer.headrace.trace_id, full=full)
    if _kept_in_full(before) != _kept_in_full(after):  # compared by what both kept: a masked text is no difference
        before, after = client.trace(before.trace_id), client.trace(after.trace_id)
    found = stages(before, after)
    return {
        "trace_id": before.trace_id,
        "replay_trace_id": after.trace_id,
        "exact": made.exact,
        "reproduced": reproduced(found),
        "missing": made.missing,
        "random": made.random,
        "stages": found,
        "cost_usd": after.cost_usd,
        "before_cost_usd": before.cost_usd,
        "duration_ms": after.duration_ms,
        "before_duration_ms": before.duration_ms,
    }


def _kept_in_full(trace: Trace) -> bool:
    return trace.content is not None and trace.content.capture == "full"


def _matching(client: Headrace, where: list[str], limit: int) -> Iterator[str]:
    filters = filters_of(where)
    token: str | None = None
    # All ids first: the replays are traces too, and newer ones.
    found: list[str] = []
    while len(found) < limit:
        page = client.traces(limit=min(limit - len(found), _PAGE), page_token=token, **filters)
        found += [one.trace_id for one in page.data]
        token = page.next_page_token
        if not token:
            break
    return iter(found)


def _line(outcome: dict[str, Any]) -> None:
    if "error" in outcome:
        console().print(f"{outcome['trace_id']}  not replayed: {outcome['error']}")
        return
    differing = [stage.name for stage in outcome["stages"] if stage.result != "same"]
    told = f"differs in {', '.join(differing)}" if differing else "the same"
    console().print(f"{outcome['trace_id']} -> {outcome['replay_trace_id']}  {told}")


def _side_by_side(outcome: dict[str, Any]) -> None:
    if "error" in outcome:
        console(err=True).print(f"{outcome['trace_id']} cannot be replayed: {outcome['error']}")
        return
    console().print(f"{outcome['trace_id']} -> {outcome['replay_trace_id']}")
    for lack in outcome["missing"]:
        console().print(f"missing in the record: {lack}")
    if outcome["random"]:
        console().print(f"may differ by chance: {outcome['random']}")
    rows = []
    stage: Stage
    for stage in outcome["stages"]:
        before, after = (shortened(text, 60) for text in (stage.before, stage.after))
        rows.append((_MARKS[stage.result], stage.name, before, after))
    print_table(("", "stage", "then", "now"), rows, empty="")
    for stage in outcome["stages"]:
        if stage.details:
            console().print(f"\n{stage.name}")
            for line in stage.details:
                console().print(f"  {line}")
    console().print("\nreproduced" if outcome["reproduced"] else "\nnot reproduced")


def _summary(done: list[dict[str, Any]]) -> dict[str, Any]:
    from decimal import Decimal

    ran = [one for one in done if "error" not in one]
    differing = Counter(stage.name for one in ran for stage in one["stages"] if stage.result != "same")
    return {
        "asked": len(done),
        "replayed": len(ran),
        "not_replayed": dict(Counter(one["error"] for one in done if "error" in one)),
        "reproduced": sum(one["reproduced"] for one in ran),
        "differing_stages": dict(differing.most_common()),
        "cost_usd": str(sum((Decimal(one["cost_usd"]) for one in ran), Decimal())),
        "before_cost_usd": str(sum((Decimal(one["before_cost_usd"]) for one in ran), Decimal())),
        "mean_ms": sum(one["duration_ms"] for one in ran) / len(ran) if ran else 0.0,
        "before_mean_ms": sum(one["before_duration_ms"] for one in ran) / len(ran) if ran else 0.0,
    }


def _print_summary(told: dict[str, Any]) -> None:
    console().print(f"\n{told['replayed']} of {told['asked']} replayed, {told['reproduced']} came out the same")
    for stage, often in told["differing_stages"].items():
        console().print(f"  {stage} differs in {often}")
    for why, often in told["not_replayed"].items():
        console().print(f"  {often} not replayed: {why}")
    console().print(
        f"cost {money(told['before_cost_usd'])} -> {money(told['cost_usd'])}, "
        f"mean {told['before_mean_ms']:.0f} ms -> {told['mean_ms']:.0f} ms"
    )
