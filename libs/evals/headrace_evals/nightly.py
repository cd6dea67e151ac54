"""Night after night: what was found is kept, and shown as one page with its trend."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path

import msgspec
from msgspec import Struct, field

from headrace_evals.results import Result
from headrace_evals.suite import ERRORS, QUANTITIES
from headrace_evals.verdict import Verdict

_WIDTH, _HEIGHT, _PAD = 180, 36, 3
NIGHTS = 90
"""So many of the newest are shown."""


class Night(Struct, frozen=True):
    """A run of one suite on one model. `values` are means by metric."""

    at: str
    suite: str
    model: str
    passed: bool
    values: dict[str, float]
    why: str = ""
    items: int = 0
    digest: str = ""
    judged: list[str] = field(default_factory=list)
    """Metrics that have a threshold."""


def night_of(result: Result, verdict: Verdict) -> Night:
    """What is kept of a run."""
    values = {name: value for name in result.metrics() if (value := result.mean(name)) is not None}
    judged = list(dict.fromkeys(check.metric for check in verdict.checks))
    return Night(
        result.at,
        result.suite,
        result.arm.model,
        verdict.passed,
        values,
        verdict.why(),
        len(result.items),
        result.digest,
        judged,
    )


def read(path: Path) -> list[Night]:
    """What was kept, oldest first; nothing where there is no such file.

    Raises:
        ValueError: a line is broken; the message names it.
    """
    if not path.exists():
        return []
    nights = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                nights.append(msgspec.json.decode(line, type=Night))
            except msgspec.MsgspecError as error:
                raise ValueError(f"{path}:{number}: {error}") from error
    return nights


def append(path: Path, nights: Sequence[Night]) -> None:
    """Keep more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(msgspec.json.encode(night).decode() + "\n" for night in nights)


def page(nights: Sequence[Night]) -> str:
    """One HTML page without anything from elsewhere: quality, cost and latency by suite and model, with the trend.

    A trend breaks where the suite or its dataset changed: numbers before it are of other questions.
    """
    groups: dict[tuple[str, str], list[Night]] = {}
    for night in nights:
        groups.setdefault((night.suite, night.model), []).append(night)
    newest = max((night.at for night in nights), default="")
    out = [_HEAD, f"<h1>Models on their golden sets</h1><p>{escape(_day(newest))}</p>"]
    for (suite, model), all_ in sorted(groups.items()):
        kept = sorted(all_, key=lambda night: night.at)[-NIGHTS:]
        last = kept[-1]
        state = "passed" if last.passed else "failed"
        out.append(f'<h2>{escape(model)} on {escape(suite)} <span class="{state}">{state}</span></h2>')
        out.append(f"<p>{last.items} items, {escape(_day(last.at))}</p>")
        if last.why:
            out.append(f"<p>{escape(last.why)}</p>")
        out.append("<table><tr><th>metric<th>newest<th>before<th>trend</tr>")
        before = kept[-2] if len(kept) > 1 and kept[-2].digest == last.digest else None
        for metric, value in last.values.items():
            name = f"<b>{escape(metric)}</b>" if metric in last.judged else escape(metric)
            was = before.values.get(metric) if before else None
            shown = "" if was is None else _value(metric, was)
            out.append(f"<tr><td>{name}<td>{_value(metric, value)}<td>{shown}<td>{_trend(metric, kept)}</tr>")
        out.append("</table>")
    return "\n".join(out) + "\n"


def _trend(metric: str, nights: Sequence[Night]) -> str:
    values = [
        (place, night.values[metric], night.digest) for place, night in enumerate(nights) if metric in night.values
    ]
    low, high = min(value for _, value, _ in values), max(value for _, value, _ in values)
    if metric not in QUANTITIES and metric != ERRORS:
        low, high = min(low, 0.0), max(high, 1.0)
    span, last = (high - low) or 1.0, max(1, len(nights) - 1)
    lines: list[list[str]] = []
    digest = None
    for place, value, of in values:
        x = _PAD + (_WIDTH - 2 * _PAD) * place / last
        y = _PAD + (_HEIGHT - 2 * _PAD) * (high - value) / span
        if of != digest:
            lines.append([])
            digest = of
        lines[-1].append(f"{x:.1f},{y:.1f}")
    drawn = "".join(
        f'<polyline points="{" ".join(points)}"/>'
        if len(points) > 1
        else f'<circle cx="{points[0].split(",")[0]}" cy="{points[0].split(",")[1]}" r="2"/>'
        for points in lines
    )
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{escape(metric)}">{drawn}</svg>'


def _value(metric: str, value: float) -> str:
    return f"{value:.4g}" if metric in QUANTITIES else f"{100 * value:.3g}%"


def _day(at: str) -> str:
    return datetime.fromisoformat(at).strftime("%Y-%m-%d %H:%M UTC") if at else ""


_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Models on their golden sets</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:54rem;margin:2rem auto;padding:0 1rem;color:#1b1f23}
table{border-collapse:collapse}td,th{text-align:left;padding:.2rem 1.2rem .2rem 0;border-bottom:1px solid #e4e4e4}
td:nth-child(2),td:nth-child(3){font-variant-numeric:tabular-nums}
.passed{color:#2e8b57}.failed{color:#c0392b}h2 span{font-size:.8em}
svg polyline{fill:none;stroke:#0b6e99;stroke-width:1.5}svg circle{fill:#0b6e99}
</style>"""
