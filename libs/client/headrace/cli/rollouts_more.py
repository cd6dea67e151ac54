"""`headrace rollouts start|approve|watch|explain|history|patch`."""

from __future__ import annotations

import difflib
import io
import json
import time
from collections.abc import Mapping, MutableMapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli._config_file import part, path_of
from headrace.cli._failures import Failure
from headrace.cli._lines import Begun, Known, interval, page
from headrace.cli._output import console, print_json, print_table
from headrace.cli._rollout_view import COLUMNS, headline, numbers, percent, view
from headrace.cli._target import Json, connect
from headrace.cli.rollouts import app

if TYPE_CHECKING:
    from headrace.types.admin import Rollout, RolloutExplanation

__all__ = ["app"]

LIVE = ("queued", "pending", "running")
STEPS = [{"weight": "5%", "at_least": "10m"}, {"weight": "25%", "at_least": "30m"}, {"weight": "100%"}]
"""Of a rollout that is started without a file of its own."""

RELEASE_STEPS = [
    {"weight": "5%", "at_least": "10m"},
    {"weight": "25%", "at_least": "10m"},
    {"weight": "50%", "at_least": "10m"},
    {"weight": "100%"},
]
"""The same of a service: at 100% there is nothing left to judge it by."""

_SERVED_BY = ("deployment", "deployments", "cascade")


@app.command()
def start(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="The model; left out with --service.")] = "",
    candidate: Annotated[
        str,
        typer.Option(help="Deployment that is to serve the model; or a service's release, its image's tag or digest."),
    ] = "",
    service: Annotated[
        str, typer.Option(help="Service of ours that gets a new release, in place of a model: gateway or guardrails.")
    ] = "",
    spec: Annotated[
        Path | None, typer.Option(help="An entry of the config's `rollouts:`, as YAML or JSON.", dir_okay=False)
    ] = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="Wait until the model's rollout is over, instead of taking its place.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start a rollout beside the config file: by the name of a deployment, with 5%, 25% and 100%, or by a spec.

    Of a new release of the gateway: `headrace rollouts start --service gateway --candidate 0.4.0`.

    Example: headrace rollouts start assistant --candidate small-v2
    """
    if (spec is None) == (not candidate):
        raise Failure("name a deployment or a release with --candidate, or a file with --spec")
    if bool(model) == bool(service):
        raise Failure("name a model, or a service with --service")
    if spec is not None:
        wanted = _read(spec)
    elif service:
        wanted = {"candidate": {"release": candidate}, "steps": RELEASE_STEPS, "analysis": {}}
    else:
        wanted = {"candidate": {"deployment": candidate}, "steps": STEPS, "analysis": {}}
    target = f"service/{service}" if service else model
    with connect(ctx, admin=True) as client:
        _print(client.start_rollout(target, wanted, queue=queue), as_json)


@app.command()
def approve(
    ctx: typer.Context,
    rollout_id: str,
    step: Annotated[int | None, typer.Option(min=1, help="The step, from 1. Default: the one that it is in.")] = None,
    as_json: Json = False,
) -> None:
    """Let a step go on that waits for a person.

    Example: headrace rollouts approve 5f2a...
    """
    with connect(ctx, admin=True) as client:
        number = client.rollout(rollout_id).step if step is None else step - 1
        _print(client.approve_rollout(rollout_id, number), as_json)


@app.command()
def watch(
    ctx: typer.Context,
    rollout_id: str,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Watch a rollout until it has ended: arms, weights, intervals, verdicts. With --json a line at each change.

    Example: headrace rollouts watch 5f2a...
    """
    import msgspec
    from rich.live import Live

    with connect(ctx, admin=True) as client:
        rollout = client.rollout(rollout_id)
        if as_json:
            told = b""
            while True:
                line = msgspec.json.encode(rollout)
                if line != told:
                    typer.echo(line.decode())
                told = line
                if rollout.state not in LIVE:
                    return
                time.sleep(every)
                rollout = client.rollout(rollout_id)
        with Live(view(rollout), console=console(), auto_refresh=False) as live:
            while rollout.state in LIVE:
                time.sleep(every)
                rollout = client.rollout(rollout_id)
                live.update(view(rollout), refresh=True)


@app.command()
def explain(
    ctx: typer.Context,
    rollout_id: str,
    plot: Annotated[
        Path | None, typer.Option(help="Write the intervals over time into this file, as SVG.", dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell how a rollout came where it is: each decision with its numbers, and with --plot the intervals over time.

    Example: headrace rollouts explain 5f2a... --plot why.svg
    """
    with connect(ctx, admin=True) as client:
        told = client.explain_rollout(rollout_id)
    if plot is not None:
        plot.write_text(drawn(told), encoding="utf-8")
    if as_json:
        print_json(told)
        return
    typer.echo(headline(told.rollout))
    if told.rollout.reason:
        typer.echo(f"why: {told.rollout.reason}")
    for decision in told.decisions:
        typer.echo(f"\n{decision.at}  {decision.action} in step {decision.step + 1}: {decision.reason}")
        if decision.verdicts:
            print_table(COLUMNS, [numbers(verdict) for verdict in decision.verdicts], empty="")
    if not told.decisions:
        typer.echo("nothing was decided yet")


@app.command()
def history(ctx: typer.Context, rollout_id: str, as_json: Json = False) -> None:
    """List who or what moved a rollout, when and why.

    Example: headrace rollouts history 5f2a...
    """
    with connect(ctx, admin=True) as client:
        told = client.explain_rollout(rollout_id)
    if as_json:
        print_json(told.transitions)
        return
    rows = [
        (line.at, line.state, line.step + 1, percent(line.weight), line.actor, line.reason) for line in told.transitions
    ]
    print_table(("at", "state", ">step", ">weight", "by", "why"), rows, empty="nothing")


@app.command()
def patch(
    ctx: typer.Context,
    rollout_id: str,
    file: Annotated[Path | None, typer.Option(help="The config file.", dir_okay=False)] = None,
    write: Annotated[bool, typer.Option("--write", help="Change the file too.")] = False,
    as_json: Json = False,
) -> None:
    """Print the change of the config file that makes a rollout's candidate the model, ready for `git apply`.

    Example: headrace rollouts patch 5f2a... | git apply
    """
    path = path_of(file)
    with connect(ctx, admin=True) as client:
        rollout = client.rollout(rollout_id)
    before = path.read_text(encoding="utf-8")
    after = adopted(before, rollout)
    if write:
        path.write_text(after, encoding="utf-8")
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{path.name}", f"b/{path.name}"
    )
    change = "".join(lines)
    if as_json:
        print_json({"rollout": rollout.id, "file": str(path), "diff": change, "written": write})
    else:
        typer.echo(change, nl=False)


def adopted(text: str, rollout: Rollout) -> str:
    """A config file with the rollout's candidate as the model, and without its entry. Comments stay.

    Raises:
        Failure: the file has no such model.
    """
    yaml = part("ruamel.yaml").YAML(typ="rt")
    yaml.preserve_quotes, yaml.width = True, 4096
    tree = yaml.load(text)
    model = (tree.get("models") or {}).get(rollout.model) if isinstance(tree, Mapping) else None
    if not isinstance(model, MutableMapping):
        raise Failure(f"the file has no model {rollout.model!r}")
    candidate = (rollout.spec or {}).get("candidate", {})
    if any(name in candidate for name in _SERVED_BY):
        for name in (*_SERVED_BY, "adapter"):
            if name not in candidate:
                model.pop(name, None)
    _merge(model, candidate)
    rollouts = tree.get("rollouts")
    if isinstance(rollouts, MutableMapping) and rollout.model in rollouts:
        del rollouts[rollout.model]
        if not rollouts:
            del tree["rollouts"]
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def _merge(target: MutableMapping[str, Any], change: Mapping[str, Any]) -> None:
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, Mapping):
            inner = target.get(key)
            if not isinstance(inner, MutableMapping):
                inner = target[key] = {}
            _merge(inner, value)
        else:
            target[key] = value


def drawn(told: RolloutExplanation) -> str:
    """The intervals of each metric over time, as an SVG document."""
    times = [datetime.fromisoformat(point.at).timestamp() for point in told.points]
    begin = min(times, default=0.0)
    weights = [line for line in told.transitions if line.state == "running"]
    steps = [Begun(datetime.fromisoformat(line.at).timestamp() - begin, f"{line.weight / 100:g}%") for line in weights]
    metrics = dict.fromkeys(point.metric for point in told.points)
    groups = []
    for metric in metrics:
        points = [
            Known(at - begin, point.estimate, point.low, point.high, point.state)
            for at, point in zip(times, told.points, strict=True)
            if point.metric == metric
        ]
        margin = next((point.margin for point in reversed(told.points) if point.metric == metric), None)
        groups.append(interval(f"{metric}: how much worse the candidate is", margin, points, steps))
    return page(f"{told.rollout.model}, rollout {told.rollout.id}: {told.rollout.state}", groups)


def _read(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    try:
        tree = json.loads(text)
    except ValueError:
        yaml = part("ruamel.yaml")
        try:
            tree = yaml.YAML(typ="safe").load(text)
        except yaml.error.YAMLError as error:
            raise Failure(f"{path} is neither YAML nor JSON") from error
    if not isinstance(tree, dict):
        raise Failure(f"{path} is no mapping with `candidate` and `steps`")
    return tree


def _print(rollout: Rollout, as_json: bool) -> None:
    if as_json:
        print_json(rollout)
        return
    typer.echo(headline(rollout))
    if rollout.reason:
        typer.echo(f"why: {rollout.reason}")
