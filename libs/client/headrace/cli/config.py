"""`headrace config`: the platform's one config file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli._config_file import kit, path_of
from headrace.cli._output import print_json
from headrace.cli._target import Json, group

app = group("config", "The platform's config file, headrace.yaml.")
File = Annotated[
    Path | None, typer.Argument(help="Default: HEADRACE_CONFIG, headrace.yaml here, or the local platform's.")
]


@app.command()
def check(file: File = None, as_json: Json = False) -> None:
    """Check a file; each problem is shown with its line and field. Exits with 1 when there is one.

    Example: headrace config check headrace.yaml
    """
    config, path = kit("config"), path_of(file)
    try:
        snapshot = config.Snapshot(config.load(path), path)
    except config.ConfigInvalid as error:
        if as_json:
            print_json({"file": str(path), "valid": False, "problems": error.problems})
        else:
            for problem in error.problems:
                typer.echo(str(problem), err=True)
        raise typer.Exit(1) from None
    if as_json:
        print_json({"file": str(path), "valid": True, "hash": snapshot.hash, "problems": []})
    else:
        typer.echo(f"{path}: valid, {snapshot.hash}")


@app.command()
def show(file: File = None) -> None:
    """Print the config with all defaults filled in, as JSON.

    Example: headrace config show
    """
    typer.echo(json.dumps(kit("config").load(path_of(file)).model_dump(mode="json"), indent=2))


@app.command()
def schema() -> None:
    """Print the JSON schema of the file, for editors.

    Example: headrace config schema > headrace.schema.json
    """
    typer.echo(kit("config.schema").schema_text(), nl=False)


@app.command()
def reference() -> None:
    """Print the reference page of the file, in Markdown.

    Example: headrace config reference | less
    """
    typer.echo(kit("config.schema").reference(), nl=False)
