"""Scores of an answer beside the one that was given to the same request: 0 to 1, more is better."""

from __future__ import annotations

from dataclasses import dataclass

_FORMS = frozenset({"json_object", "json_schema", "regex"})


@dataclass(frozen=True, slots=True)
class Said:
    """An answer.

    Attributes:
        text: of it.
        fault: what is wrong with it (`Answered.fault`).
        tokens: its length.
        asked: the form that was asked for.
        grounded: how far its passages support it, 0 to 1; None where it had none, or says nothing to support.
    """

    text: str
    fault: str
    tokens: int
    asked: str = "text"
    grounded: float | None = None


def grade(given: Said, answer: Said | None) -> dict[str, float]:
    """Scores by name; None for `answer` where there was none, which has 0 everywhere.

    `exact`: the same words. `length`: the shorter length as a share of the longer one. `json`, where a form was asked
    for: whether it was met. `groundedness`, where both answers have one: how far its passages support
    it.
    """
    scores = {"exact": 0.0, "length": 0.0}
    if given.asked in _FORMS:
        scores["json"] = float(answer is not None and not answer.fault)
    if given.grounded is not None:
        if answer is None:
            scores["groundedness"] = 0.0
        elif answer.grounded is not None:
            scores["groundedness"] = answer.grounded
    if answer is not None:
        scores["exact"] = float(given.text.split() == answer.text.split())
        longer = max(given.tokens, answer.tokens)
        scores["length"] = min(given.tokens, answer.tokens) / longer if longer else 1.0
    return scores
