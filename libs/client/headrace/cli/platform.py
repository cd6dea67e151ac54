"""`up`, `down`, `restart`, `status`, `logs`, `serve`, `migrate`: the platform's own processes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from headrace.cli._failures import missing
from headrace.cli._target import Json

Config = Annotated[Path | None, typer.Option(help="headrace.yaml to use. Default: HEADRACE_CONFIG, else built in.")]
Runtime = Annotated[Literal["process", "ray"] | None, typer.Option(help="What hosts the services.")]
PortBase = Annotated[int | None, typer.Option(help="First of the platform's 100 ports. Default: 7800.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, down, restart, status, logs, serve, migrate):
        app.command()(command)


def up(
    config: Config = None,
    runtime: Runtime = None,
    port_base: PortBase = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay until Ctrl-C, which stops all.")] = False,
    as_json: Json = False,
) -> None:
    """Start the platform on this machine and print how to use it.

    Example: headrace up --runtime ray
    """
    _local("up", as_json, foreground=foreground, config=config, runtime=runtime, port_base=port_base)


def down(as_json: Json = False) -> None:
    """Stop the platform on this machine; its data stays.

    Example: headrace down
    """
    _local("down", as_json)


def restart(
    unit: Annotated[str | None, typer.Argument(help="One unit of `headrace status`; default: everything.")] = None,
    config: Config = None,
    runtime: Runtime = None,
    port_base: PortBase = None,
    as_json: Json = False,
) -> None:
    """Restart the platform, or one unit of it.

    Example: headrace restart triton
    """
    _local("restart", as_json, unit=unit, config=config, runtime=runtime, port_base=port_base)


def status(as_json: Json = False) -> None:
    """Show what runs on this machine. Exits with 1 when something is not ready, 3 when nothing runs.

    Example: headrace status
    """
    raise typer.Exit(_commands().status(as_json=as_json))


def logs(
    units: Annotated[list[str] | None, typer.Argument(help="Units of `headrace status`; default: all.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines of each log.")] = 50,
) -> None:
    """Print the end of the units' logs.

    Example: headrace logs gateway -f
    """
    raise typer.Exit(_commands().logs(units or (), follow=follow, lines=lines))


def serve(
    service: Annotated[str, typer.Argument(help="gateway, inference, retrieval, guardrails, tracing or rollout.")],
    runtime: Annotated[
        Literal["process", "ray"], typer.Option(help="Host: this process, or a Ray Serve node of its own.")
    ] = "process",
) -> None:
    """Serve one service until it is told to stop; HEADRACE_* variables are its settings.

    Example: HEADRACE_CONFIG=headrace.yaml headrace serve gateway
    """
    try:
        ports = import_module("headrace_kit.config.ports")
        host = import_module("headrace_kit.hosting.process")
    except ModuleNotFoundError as error:
        raise missing("headrace_kit", "the platform") from error
    if service not in ports.SERVICES:
        raise typer.BadParameter(f"{service!r} is none of {', '.join(ports.SERVICES)}", param_hint="SERVICE")
    if runtime == "ray":
        # Ray reads its variables at import, so it has to begin in a new program.
        local = "headrace_local.ray"
        if find_spec("headrace_local") is None:
            raise missing("headrace_local", "the local platform")
        os.environ["HEADRACE_RUNTIME"] = runtime
        os.execv(sys.executable, (sys.executable, "-m", local, "--services", service))  # noqa: S606
    host.run(service)


def migrate(as_json: Json = False) -> None:
    """Bring the schemas of all services in PostgreSQL to their newest revision.

    Example: HEADRACE_CONFIG=headrace.yaml headrace migrate
    """
    try:
        kit = import_module("headrace_kit.config")
        migrations = import_module("headrace_kit.stores.migrations")
    except ModuleNotFoundError as error:
        raise missing("headrace_kit", "the platform") from error
    env = kit.Environment()
    stores = kit.load(env.config).stores
    done = migrations.migrate(kit.Secrets(env.secrets_path, env.variables()).require(stores.postgres_admin))
    if as_json:
        from headrace.cli._output import print_json

        print_json(done)
    else:
        for name, revision in done.items():
            typer.echo(f"{name}: {revision}")


def _commands() -> Any:
    try:
        return import_module("headrace_local.commands")
    except ModuleNotFoundError as error:
        raise missing("headrace_local", "the local platform") from error


def _local(name: str, as_json: bool, **arguments: Any) -> None:
    commands = _commands()
    if as_json:
        # what it says for people goes to stderr, and the state that it left behind to stdout
        from headrace.cli._output import console

        arguments["console"] = console(err=True)
    code = getattr(commands, name)(**arguments)
    if as_json and code == 0:
        commands.status(as_json=True)
    raise typer.Exit(code)
