"""What a benchmark found, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a table.

    Attributes:
        name: what was measured.
        value: ours, where there are two sides.
        peer: the other side's, measured in the same run.
        ratio: what the target is about, where that is neither of them.
        unit: of value and peer.
        target: such as `>= 0.95` or `<= 3 ms`; it is about the ratio, or about the value where there is none.
        note: what else the reader should know.
    """

    name: str
    value: float | None = None
    peer: float | None = None
    ratio: float | None = None
    unit: str = ""
    target: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if not self.target:
            return None
        relation, limit, *_ = self.target.split()
        judged = self.ratio if self.ratio is not None else self.value
        if judged is None:
            return None
        return judged >= float(limit) if relation == ">=" else judged <= float(limit)

    def document(self) -> dict[str, Any]:
        """As JSON: what is there, and whether the target is met."""
        found = {name: value for name, value in asdict(self).items() if value not in (None, "")}
        return found if self.met is None else found | {"met": self.met}


def show(title: str, peer: str, figures: Sequence[Figure], console: Console) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    for column in ("headrace", peer, "ratio", "target"):
        table.add_column(column, justify="right")
    table.add_column("note")
    for figure in figures:
        colour = {True: "[green]", False: "[red]", None: ""}[figure.met]
        judged = figure.ratio if figure.ratio is not None else figure.value
        ratio = "" if figure.ratio is None else f"{figure.ratio:.3f}"
        value = _number(figure.value, figure.unit)
        if colour and judged is figure.ratio:
            ratio = f"{colour}{ratio}[/]"
        elif colour:
            value = f"{colour}{value}[/]"
        table.add_row(figure.name, value, _number(figure.peer, figure.unit), ratio, figure.target, figure.note)
    console.print(table)


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    text = f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
    return f"{text} {unit}".strip()
