"""Two traces of the same request, stage by stage."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct, field

from headrace.types.traces import Trace

Same = Literal["same", "differs", "unknown"]


class Stage(Struct):
    """One stage side by side. `unknown`: one of the two did not keep it."""

    name: str
    result: Same
    before: str = ""
    after: str = ""
    details: list[str] = field(default_factory=list)


def stages(before: Trace, after: Trace) -> list[Stage]:
    """What the two runs did, in the order of a request."""
    made = [
        _stage("config", _config(before), _config(after)),
        _stage("guard findings in", _found(before, "input"), _found(after, "input")),
        _passages(before, after),
        _stage("guard findings in passages", _found(before, "retrieved"), _found(after, "retrieved")),
        _stage("attempts", _attempts(before), _attempts(after)),
        _answer(before, after),
        _stage("guard findings out", _found(before, "output"), _found(after, "output")),
        _stage("tokens", _tokens(before), _tokens(after)),
        _stage("cost", f"${before.cost_usd}", f"${after.cost_usd}"),
        # Never the same, and no difference either.
        Stage("time", "same", f"{before.duration_ms:.0f} ms", f"{after.duration_ms:.0f} ms"),
    ]
    return [stage for stage in made if stage.before or stage.after or stage.result == "unknown"]


def reproduced(found: list[Stage]) -> bool:
    """Whether everything that must come out the same for the same request, config and models did."""
    told = {stage.name: stage.result for stage in found}
    return all(told.get(name, "same") == "same" for name in ("guard findings in", "passages", "attempts", "answer"))


def _stage(name: str, before: str, after: str) -> Stage:
    return Stage(name, "same" if before == after else "differs", before, after)


def _tokens(trace: Trace) -> str:
    return f"{trace.input_tokens} in, {trace.output_tokens} out"


def _config(trace: Trace) -> str:
    return str(trace.root.attributes.get("headrace.config_hash", "")) if trace.root else ""


def _found(trace: Trace, direction: str) -> str:
    return ", ".join(
        f"{one.check}.{one.kind} {one.action} x{one.count}" for one in trace.findings if one.direction == direction
    )


def _attempts(trace: Trace) -> str:
    return ", ".join(_attempt(one) for one in trace.decisions)


def _attempt(decision: Any) -> str:
    told = [decision.deployment, decision.verdict or decision.error]
    if decision.reason:
        told.append(f"({decision.reason})")
    return " ".join(word for word in told if word)


def _passages(before: Trace, after: Trace) -> Stage:
    old, new = (trace.content.passages if trace.content else [] for trace in (before, after))
    if not old and not new:
        return Stage("passages", "same")
    names = [[f"{one.collection}/{one.document_id}[{one.start}:{one.end}]" for one in side] for side in (old, new)]
    details = []
    for place, was in zip(names[0], old, strict=True):
        now = next((one for other, one in zip(names[1], new, strict=True) if other == place), None)
        if now is None:
            details.append(f"- {place}")
        elif now.text != was.text:
            details.append(f"! {place}: its text has changed")
    details += [f"+ {place}" for place in names[1] if place not in names[0]]
    if not details and names[0] != names[1]:
        details.append("the same in another order")
    result: Same = "differs" if details else "same"
    return Stage("passages", result, f"{len(old)} passages", f"{len(new)} passages", details)


def _answer(before: Trace, after: Trace) -> Stage:
    old, new = (_text(trace) for trace in (before, after))
    if old is None or new is None:
        return Stage("answer", "unknown", old or "", new or "", ["the content of one of the two was not kept"])
    if old == new:
        return Stage("answer", "same", old, new)
    alike = difflib.SequenceMatcher(None, old, new, autojunk=False).ratio()
    return Stage("answer", "differs", old, new, [f"{alike:.0%} alike", *_lines(old, new)])


def _text(trace: Trace) -> str | None:
    if trace.content is None or trace.content.capture == "off":
        return None
    return "\n".join(" ".join(part for part in (turn.text, turn.more_json) if part) for turn in trace.content.output)


def _lines(old: str, new: str) -> Iterator[str]:
    """Words that went and came, in their place."""
    a, b = old.split(), new.split()
    for kind, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind != "equal":
            if i < j:
                yield "- " + " ".join(a[i:j])
            if k < m:
                yield "+ " + " ".join(b[k:m])
