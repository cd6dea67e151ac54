"""A rollout as people see it: its arms and what is known of each metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headrace.types.admin import Rollout, Verdict

_COLOUR = {"within": "green", "beyond": "red", "missing": "yellow", "undecided": "cyan"}


def percent(share: int) -> str:
    """A share in 1/10000 as text."""
    return f"{share / 100:g}%"


def headline(rollout: Rollout) -> str:
    """Where it stands, in a line."""
    step = f"step {rollout.step + 1} of {rollout.steps}" if rollout.steps else ""
    facts = [rollout.id, rollout.model, rollout.state, step, f"{percent(rollout.weight)} on the candidate"]
    if rollout.shadow:
        facts.append(f"{percent(rollout.shadow)} copied to it")
    return " · ".join(fact for fact in facts if fact)


def evaluated(rollout: Rollout) -> str:
    """Where the suite of its step is, or how the last one ended, in a line; empty where it was put to none."""
    suite = rollout.evaluation
    if suite is None:
        return ""
    line = f"evaluation {suite.suite}: {suite.state}, {suite.done} of {suite.total} items"
    return f"{line}: {suite.why}" if suite.why else line


def checked(rollout: Rollout) -> list[str]:
    """What the suite demands and what was found, a line each."""
    checks = rollout.evaluation.checks if rollout.evaluation is not None else []
    return [f"{'✓' if check.state == 'within' else '✗'} {check.reason}" for check in checks]


def numbers(verdict: Verdict) -> tuple[str, ...]:
    """A verdict as the cells of a row."""
    between = "" if verdict.low is None or verdict.high is None else f"{verdict.low:.3g} … {verdict.high:.3g}"
    return (
        verdict.metric,
        verdict.state,
        "" if verdict.estimate is None else f"{verdict.estimate:+.3g}",
        between,
        "" if verdict.margin is None else f"{verdict.margin:.3g}",
        f"{verdict.n_baseline}",
        f"{verdict.n_candidate}",
        f"{100 * verdict.evidence:.0f}%",
    )


COLUMNS = ("metric", "verdict", ">worse by", ">interval", ">margin", ">baseline", ">candidate", ">towards rollback")


def view(rollout: Rollout) -> RenderableType:
    """A rollout for a live display."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    share = rollout.weight / 10_000
    width = 50
    bar = Text()
    bar.append("█" * round(width * (1 - share)), style="blue")
    bar.append("█" * (width - round(width * (1 - share))), style="magenta")
    bar.append(f"  baseline {percent(10_000 - rollout.weight)}", style="blue")
    bar.append(f"  candidate {percent(rollout.weight)}", style="magenta")
    parts: list[RenderableType] = [Text(headline(rollout), style="bold"), bar]
    if rollout.verdicts:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in COLUMNS:
            table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
        for verdict in rollout.verdicts:
            cells = [Text(cell) for cell in numbers(verdict)]
            cells[1].stylize(_COLOUR.get(verdict.state, ""))
            table.add_row(*cells)
        parts.append(table)
    if line := evaluated(rollout):
        parts.append(Text(line))
        parts += [Text(check) for check in checked(rollout)]
    if rollout.holds:
        parts.append(Text(f"holds: {rollout.holds}", style="yellow"))
    if rollout.reason:
        parts.append(Text(f"why: {rollout.reason}"))
    return Group(*parts)
