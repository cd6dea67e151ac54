"""Filters of traces, as they are given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

Where = Annotated[
    list[str] | None,
    typer.Option(help="A filter of `GET /v1/traces`, as name=value, such as user=ada or label=retried; repeatable."),
]


def filters_of(where: Sequence[str] | None, given_by: str = "--where") -> dict[str, Any]:
    """Filters by name. Raises typer.BadParameter where one is not name=value."""
    filters = {}
    for one in where or ():
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{one!r} is not name=value", param_hint=given_by)
        filters[name] = value
    return filters
