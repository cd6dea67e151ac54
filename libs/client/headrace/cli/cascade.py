"""`headrace cascade`: routers learned from what deployments answered, and the settings that a target asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli._config_file import part
from headrace.cli._failures import Failure
from headrace.cli._output import print_json, print_table
from headrace.cli._target import Json, connect, group

app = group("cascade", "Cascades that are learned: train a router offline, and find the setting for a target.")
_TRAINING = "headrace_router.training"
_BATCH = 64

Data = Annotated[
    Path, typer.Argument(help="Prompts with scores, costs and answers by deployment: JSON lines, or CSV (*.csv).")
]
Deployments = Annotated[str | None, typer.Option(help="Those to choose among, with commas. Default: the best five.")]
Embed = Annotated[
    str | None, typer.Option(help="A model of the platform that embeds the prompts. Rows with embeddings keep theirs.")
]
Onnx = Annotated[
    Path | None,
    typer.Option(help="Instead of --embed: a folder with the model.onnx and tokenizer.json of an embedder."),
]
Plot = Annotated[Path | None, typer.Option(help="Write quality against cost as an SVG.")]
Seed = Annotated[int, typer.Option(help="Of the folds; the same seed gives the same file.")]


@app.command("train")
def train_(
    ctx: typer.Context,
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the router.")],
    deployments: Deployments = None,
    embed: Embed = None,
    onnx: Onnx = None,
    folds: Annotated[int, typer.Option(min=2, max=20, help="Parts for cross-validation.")] = 5,
    plot: Plot = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Learn, from what deployments answered, which one to ask for a prompt, and when to ask another one.

    Example: headrace cascade train answers.jsonl --out routers/assistant.json --deployments small,large --embed minilm

    A line of the dataset: {"prompt": "...", "scores": {"small": 0, "large": 1}, "costs": {"small": 0.0001, "large":
    0.002}, "answers": {"small": "...", "large": "..."}}. Scores are 0 to 1, costs US dollars. The guide on cascades has
    the whole format.
    """
    fit, curve = _training("fit"), _training("curve")
    with _explained():
        dataset = _read(ctx, data, deployments, embed, onnx)
        trained = fit.train(dataset, _options(fit, dataset, deployments, seed, folds), _say(as_json))
        _training("file", "headrace_router").save(trained.router, out)
    chosen = dataset.only(trained.router.deployments)
    if plot:
        plot.write_text(_drawing(curve, trained.scores, trained.costs, chosen, f"{data.name}, out of fold"))
    metadata = trained.router.metadata
    if as_json:
        ways = zip(trained.router.plan.tradeoffs, trained.scores.mean(axis=1), trained.costs.mean(axis=1), strict=True)
        points = [dict(zip(("quality_per_usd", "quality", "cost_usd"), map(float, row), strict=True)) for row in ways]
        print_json({"file": str(out), "bytes": out.stat().st_size, "metadata": metadata, "out_of_fold": points})
        return
    print_table(
        ["deployment", ">score", ">cost of 1,000", ">log loss", ">of the mean", ">with all answers"],
        [
            [
                name,
                f"{entry['mean_score']:.3f}",
                f"${entry['mean_cost_usd'] * 1000:.4g}",
                f"{entry['log_loss']:.3f}",
                f"{entry['log_loss_of_mean']:.3f}",
                f"{entry['log_loss_with_all_answers']:.3f}" if "log_loss_with_all_answers" in entry else None,
            ]
            for name, entry in metadata["deployments"].items()
        ],
        empty="",
    )
    typer.echo(
        f"\nprior: {metadata['prior']} · {metadata['dataset']['rows']} rows · {out}, {out.stat().st_size:,} bytes"
    )
    typer.echo(f"next: headrace cascade tune OTHER-ROWS --router {out} --quality-loss 2%")


@app.command()
def tune(
    ctx: typer.Context,
    data: Data,
    quality_loss: Annotated[
        str | None, typer.Option(help="At most this share of the best deployment's quality, with %: least cost.")
    ] = None,
    budget_usd: Annotated[
        float | None, typer.Option(help="At most this mean cost of a request in US dollars: best quality.")
    ] = None,
    router: Annotated[Path | None, typer.Option(help="A router of `headrace cascade train`.")] = None,
    stages: Annotated[str | None, typer.Option(help="Instead of --router: deployments in order, with commas.")] = None,
    signal: Annotated[
        str, typer.Option(help="With --stages: the recorded signal that has a threshold.")
    ] = "mean_logprob",
    model: Annotated[str, typer.Option(help="The entry of `models` that the patch is for.")] = "assistant",
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="How sure the rows must make us of the target, one-sided.")
    ] = 0.9,
    embed: Embed = None,
    onnx: Onnx = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the patch here instead of printing it.")
    ] = None,
    plot: Plot = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Find the setting that a target asks for, and print it as a patch of the config.

    Example: headrace cascade tune other.jsonl --router routers/assistant.json --quality-loss 2% --plot curve.svg

    Without a router: `--stages small,large --quality-loss 2%`. By money: `--budget-usd 0.001`.

    What is reported was chosen on one half of the rows and judged on the other, both ways round. A router that was
    trained on these very rows is judged by others that were trained in the same way without them, which takes as long
    as five trainings.
    """
    tuning, curve = _training("tune"), _training("curve")
    if (router is None) == (stages is None):
        raise Failure("name --router FILE or --stages small,large, one of the two")
    with _explained():
        target = tuning.Target(_share(quality_loss), budget_usd, confidence)
        dataset = _read(ctx, data, stages, embed, onnx)
        if stages:
            names = _names(stages) or []
            table = tuning.signal_table(dataset, names, signal)
        else:
            assert router is not None
            names, table, dimensions = _router_table(router, dataset, seed, _say(as_json))
        tuned = tuning.tune(table, target, seed)
    if stages:
        cascade = [
            {"deployment": name, "accept": {"signal": signal, "at_least": value}}
            for name, value in zip(names, tuned.value, strict=False)
        ]
        section: dict[str, Any] = {"cascade": [*cascade, {"deployment": names[-1]}]}
    else:
        section = {
            "cascade": [{"deployment": name} for name in names],
            "learned": {"file": str(router), "quality_per_usd": float(f"{tuned.value[0]:.6g}")}
            | ({"embedding": embed} if dimensions and embed else {}),
        }
        if dimensions and not embed:
            typer.echo("the router was trained with embeddings: add to `learned` the `embedding` deployment", err=True)
    patch = {"models": {model: section}}
    if plot:
        marked = [("chosen", float(table.costs[tuned.place].mean()), float(table.scores[tuned.place].mean()))]
        plot.write_text(_drawing(curve, table.scores, table.costs, dataset.only(names), data.name, marked))
    text = _yaml(patch)
    if out:
        out.write_text(text)
    if as_json:
        print_json(
            {"patch": patch, **{key: value for key, value in dataclasses.asdict(tuned).items() if key != "place"}}
        )
        return
    print_table(
        ["judged on the other half", ">expected", ">95% from", ">to"],
        [
            ["quality, of the best deployment's", *(f"{value:.1%}" for value in dataclasses.astuple(tuned.quality))],
            ["cost, of the best deployment's", *(f"{value:.1%}" for value in dataclasses.astuple(tuned.cost))],
            ["cost of 1,000 requests", *(f"${value * 1000:.4g}" for value in dataclasses.astuple(tuned.usd))],
        ],
        empty="",
    )
    first, second = (", ".join(f"{value:.4g}" for value in half) for half in tuned.halves)
    typer.echo(f"\n{len(dataset.rows)} rows; the halves chose {first} and {second}\n")
    typer.echo(f"{out}" if out else text, nl=bool(out))


def _router_table(file: Path, dataset: Any, seed: int, say: Callable[[str], None]) -> tuple[list[str], Any, int]:
    """What a router would do with rows, honestly: its own rows are judged by routers that did not see them."""
    router = _training("file", "headrace_router").load(file)
    names = list(router.deployments)
    dataset = dataset.only(names)
    if dataset.digest == router.metadata.get("dataset", {}).get("sha256"):
        say("the router was trained on these rows: judging others, trained without them")
        options = _training("fit").Options(deployments=len(names), seed=seed, at=tuple(router.plan.tradeoffs.tolist()))
        return names, _training("crossfit").crossfit(dataset, options, say), router.dimensions
    played = _training("evaluate").evaluate(router, dataset)
    values = tuple((float(value),) for value in router.plan.tradeoffs)
    table = _training("tune").Table(values, played.scores, played.costs, dataset.scores, dataset.costs)
    return names, table, router.dimensions


def _read(ctx: typer.Context, data: Path, deployments: str | None, embed: str | None, onnx: Path | None) -> Any:
    """The dataset, with embeddings if they were asked for."""
    if embed and onnx:
        raise Failure("name --embed or --onnx, one of the two")
    dataset = _training("dataset").read(data, _names(deployments))
    if dataset.dimensions or not (embed or onnx):
        return dataset
    prompts = [row.prompt for row in dataset.rows]
    if onnx:
        embedder = _training("embed").LocalEmbedder(onnx / "model.onnx", onnx / "tokenizer.json")
        return dataset.embedded(list(_shown(embedder.embed(prompts), len(prompts))))
    embedded_text = _training("prompt", "headrace_router").embedded_text
    texts = [embedded_text(prompt) or " " for prompt in prompts]
    vectors: list[Sequence[float]] = []
    with connect(ctx) as client:
        for at in _shown(range(0, len(texts), _BATCH), -(-len(texts) // _BATCH)):
            vectors += [entry.embedding for entry in client.embed(texts[at : at + _BATCH], model=embed or "").data]
    return dataset.embedded(vectors)


def _shown(things: Any, count: int) -> Any:
    """With a bar on standard error, where that is a terminal."""
    from rich.progress import track

    from headrace.cli._output import console

    shown = console(err=True)
    return track(things, "embedding", total=count, console=shown, disable=not shown.is_terminal, transient=True)


def _options(fit: Any, dataset: Any, deployments: str | None, seed: int, folds: int) -> Any:
    count = len(dataset.deployments) if deployments else min(len(dataset.deployments), fit.Options.deployments)
    return fit.Options(deployments=count, seed=seed, folds=folds)


def _names(listed: str | None) -> list[str] | None:
    if listed is None:
        return None
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if len(set(names)) != len(names) or len(names) < 2:
        raise Failure(f"{listed!r}: name two deployments or more, each once, with commas between them")
    return names


def _share(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        if text.strip().endswith("%"):
            return float(text.strip()[:-1]) / 100
    except ValueError:
        pass
    raise Failure(f"--quality-loss {text!r}: write it with %, for example 2%")


def _drawing(curve: Any, scores: Any, costs: Any, dataset: Any, title: str, marks: Sequence[Any] = ()) -> str:
    single_scores, single_costs = dataset.scores.mean(axis=0), dataset.costs.mean(axis=0)
    single = list(zip(dataset.deployments, single_costs.tolist(), single_scores.tolist(), strict=True))
    curves = [
        curve.Curve("cascade", *curve.hull(costs.mean(axis=1), scores.mean(axis=1))),
        curve.linear(dataset.costs, dataset.scores),
    ]
    return str(curve.draw(curves, single, title=title, marks=marks))


def _yaml(patch: Any) -> str:
    """YAML of nested mappings, lists in flow style."""
    import json

    ((_, models),) = patch.items()
    ((name, section),) = models.items()
    lines = ["models:", f"  {name}:"]
    for key, value in section.items():
        if isinstance(value, list):
            lines += [f"    {key}:", *(f"      - {json.dumps(entry)}" for entry in value)]
        else:
            lines.append(f"    {key}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def _say(quiet: bool) -> Callable[[str], None]:
    return (lambda line: None) if quiet else (lambda line: typer.echo(line, err=True))


def _training(module: str, package: str = _TRAINING) -> Any:
    """A module that trains. Raises Failure where what it needs is not installed."""
    try:
        return part(f"{package}.{module}")
    except Failure as error:
        if isinstance(error.__cause__, ModuleNotFoundError) and "headrace_router" not in str(error.__cause__):
            raise Failure(
                f"training needs {error.__cause__.name}, which is not installed here: install headrace-router with its "
                "extra `train` (in a clone of headrace: infra/local/bootstrap.sh dev)"
            ) from error
        raise


class _explained:
    """What the trainer refuses, as one line."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        # DatasetInvalid, RouterInvalid and NoSetting: their messages are for people
        if isinstance(error, ValueError) and type(error).__module__.startswith("headrace_router"):
            raise Failure(str(error)) from error
