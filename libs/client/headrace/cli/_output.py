"""What commands print."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 160


def console(*, err: bool = False) -> Console:
    """A console that takes text as it is. Output that is no terminal gets wide lines instead of wrapped ones."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    return Console(stderr=err, highlight=False, markup=False, emoji=False, width=None if stream.isatty() else _WIDE)


def print_json(value: Any) -> None:
    """Print a value of this package as JSON."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Print rows; `empty` where there are none. A column that starts with `>` is right-aligned."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    if table.row_count:
        console().print(table)
    else:
        typer.echo(empty)


def money(usd: str | None) -> str:
    """A decimal amount of US dollars for people."""
    return f"${usd}" if usd else "$0"


def shortened(text: str, most: int) -> str:
    """One line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
