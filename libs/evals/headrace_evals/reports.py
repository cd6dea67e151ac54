"""What a run found, for people (Markdown) and for what runs tests (JUnit)."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as Xml

from headrace_evals.results import Result, Scored
from headrace_evals.suite import QUANTITIES
from headrace_evals.verdict import Check, Verdict, rows

_WORST, _MOST_CHARS = 10, 300


def markdown(results: Sequence[Result], verdict: Verdict) -> str:
    """A page: the verdict, each check, the means by arm, and the items with the lowest scores.

    With two results the first is the baseline.
    """
    last = results[-1]
    out = [f"# {verdict.suite}: {'passed' if verdict.passed else 'failed'}", ""]
    out += [f"{len(last.items)} items, {_arms(results)}, {last.at}", ""]
    if verdict.checks:
        out += ["| | metric | demand | found | why |", "|---|---|---|---|---|"]
        out += [
            f"| {'✓' if check.passed else '✗'} | {check.metric} | {check.rule} | {_found(check)} | {_cell(check.why)} |"
            for check in verdict.checks
        ]
        out.append("")
    out += ["| metric | " + " | ".join(result.arm.name for result in results) + " |"]
    out += ["|---|" + "---:|" * len(results)]
    for metric, values in rows(results):
        out.append(f"| {metric} | " + " | ".join(_value(metric, value) for value in values) + " |")
    for name, calibration in last.calibrations.items():
        out += [
            "",
            f"The judge {name} agrees with people in {calibration.agreement:.0%} of {calibration.n} comparisons "
            f"({calibration.low:.0%} to {calibration.high:.0%}).",
        ]
    out += ["", *[f"Note: {note}." for note in last.notes]]
    if worst := _worst(last):
        out += ["", "## Lowest scores", "", "| item | scores | answer |", "|---|---|---|"]
        for item in worst:
            scores = ", ".join(f"{name} {score:.2g}" for name, score in item.scores.items())
            said = item.text if not item.error else f"{item.error} {item.text}"
            out.append(f"| {_cell(item.id)} | {scores} | {_cell(said)} |")
    return "\n".join(out).rstrip() + "\n"


def junit(results: Sequence[Result], verdict: Verdict) -> str:
    """JUnit's XML: a test case for each check, and one for each item that got no answer."""
    last = results[-1]
    lost = [item for item in last.items if item.errors]
    failures = sum(not check.passed for check in verdict.checks)
    suite = Xml.Element(
        "testsuite",
        name=f"headrace eval {verdict.suite}",
        tests=str(len(verdict.checks) + len(lost)),
        failures=str(failures),
        errors=str(len(lost)),
        timestamp=last.at,
    )
    for check in verdict.checks:
        case = Xml.SubElement(suite, "testcase", classname=verdict.suite, name=f"{check.metric} {check.rule}")
        if not check.passed:
            Xml.SubElement(case, "failure", message=_printable(check.why)).text = _found(check)
    for item in lost:
        case = Xml.SubElement(suite, "testcase", classname=f"{verdict.suite}.items", name=_printable(item.id))
        Xml.SubElement(case, "error", message=_printable(item.error or "no answer"))
    Xml.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(suite, encoding="unicode") + "\n"


def _arms(results: Sequence[Result]) -> str:
    names = [f"{result.arm.name} ({result.arm.model})" for result in results]
    return names[0] if len(names) == 1 else f"{names[-1]} beside {names[0]}"


def _found(check: Check) -> str:
    if check.value is None:
        return "unknown"
    if check.low is None or check.high is None:
        return f"{_value(check.metric, check.value)} of {check.n} items"
    return f"{100 * check.value:+.3g}% ({100 * check.low:+.3g}% to {100 * check.high:+.3g}%), {check.n} items"


def _value(metric: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if metric in QUANTITIES else f"{100 * value:.3g}%"


def _worst(result: Result) -> list[Scored]:
    graded = [item for item in result.items if item.scores and min(item.scores.values()) < 1]
    return sorted(graded, key=lambda item: sum(item.scores.values()) / len(item.scores))[:_WORST]


def _cell(text: str) -> str:
    line = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return line if len(line) <= _MOST_CHARS else line[: _MOST_CHARS - 1] + "…"


def _printable(text: str) -> str:
    # XML 1.0 has no way to write most control characters.
    return "".join(letter if letter.isprintable() else " " for letter in text)
