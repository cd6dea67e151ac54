"""The config file that a command is about, and the packages of the platform that read it."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from headrace.cli._failures import Failure, missing


def kit(module: str) -> Any:
    """`headrace_kit.<module>`. Raises Failure when the platform is not installed."""
    return part(f"headrace_kit.{module}")


def part(name: str) -> Any:
    """A module of the platform. Raises Failure when its package is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise missing(name.split(".")[0], "the platform") from error


def path_of(given: Path | None) -> Path:
    """The file: as given, else HEADRACE_CONFIG, else headrace.yaml here, else the one of the local platform.

    Raises:
        Failure: there is none of them.
    """
    if given is not None:
        return given
    if named := os.environ.get("HEADRACE_CONFIG"):
        return Path(named)
    if (here := Path("headrace.yaml")).exists():
        return here
    spec = find_spec("headrace_local")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))) / "headrace.yaml"
    raise Failure("no config file: name one, or set HEADRACE_CONFIG")
