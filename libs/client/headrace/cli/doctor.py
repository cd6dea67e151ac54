"""`headrace doctor`: what is wrong with an installation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from headrace.cli._failures import Failure
from headrace.cli._output import console, print_json
from headrace.cli._target import Json, Target
from headrace.doctor.findings import Finding, unknown

_SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red"), "unknown": ("?", "cyan")}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    ctx: typer.Context,
    release: Annotated[
        str | None, typer.Option(help="A release of the chart, to look at through the Kubernetes API.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Of the release. Default: the context's.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="Of the kubeconfig. Default: the current one.")] = None,
    as_json: Json = False,
) -> None:
    """Find what is wrong with an installation, and say what to do. Exits with 1 when there is a problem.

    Looks through the platform's API (`--url`, or .headrace/env), and with `--release` at the cluster: Kubernetes'
    version, Helm's record, the APIs that the release needs, pods, jobs, volumes, Secrets and ConfigMaps, GPUs, versions
    of images, clocks.

    Example: headrace doctor --release headrace --namespace genai
    """
    target: Target = ctx.obj
    found: list[Finding] = []
    for finding in _look(target, release, namespace, context):
        found.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        print_json(found)
    elif not any(finding.state == "problem" for finding in found):
        typer.echo("no problem found")
    if any(finding.state == "problem" for finding in found):
        raise typer.Exit(1)


def _look(target: Target, release: str | None, namespace: str | None, context: str | None) -> Iterator[Finding]:
    if release is not None or namespace is not None or context is not None:
        yield from _cluster(release or "headrace", namespace, context)
        if target.url is None:
            return
    yield from _platform(target)


def _cluster(release: str, namespace: str | None, context: str | None) -> Iterable[Finding]:
    from importlib.metadata import version

    from headrace.doctor.api_server import ApiServer
    from headrace.doctor.cluster import Refused
    from headrace.doctor.installation import installation

    try:
        cluster = ApiServer(namespace, context)
    except ModuleNotFoundError as error:
        raise Failure(f"a look at a cluster needs {error.name}: pip install 'headrace[kubernetes]'") from error
    except Refused as error:
        raise Failure(f"no cluster to look at: {error}") from error
    return installation(cluster, release, version("headrace"))


def _platform(target: Target) -> Iterator[Finding]:
    from headrace.doctor.platform import admin, reachable
    from headrace.errors import NotConfigured
    from headrace.settings import Settings

    url = target.url or Settings.find().require_url()
    there = list(reachable(url))
    yield from there
    if any(finding.state == "problem" for finding in there if finding.check == "gateway"):
        return
    try:
        client = target.connect(admin=True)
    except NotConfigured as error:
        yield unknown("config", f"config and deployments were not looked at: {error}")
        return
    with client:
        yield from admin(client)


def _show(finding: Finding) -> None:
    from rich.text import Text

    sign, colour = _SIGNS[finding.state]
    line = Text.assemble((f"{sign} ", colour), (f"{finding.check:<12}", "bold"), finding.what)
    console().print(line, soft_wrap=True)
    if finding.advice:
        typer.echo(f"{'':14}→ {finding.advice}")
