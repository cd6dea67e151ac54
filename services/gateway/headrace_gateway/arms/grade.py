"""Scores of an answer beside the one that was given to the same request: 0 to 1, more is better."""

from __future__ import annotations

from dataclasses import dataclass

_FORMS = frozenset({"json_object", "json_schema", "regex"})


@dataclass(frozen=True, slots=True)
class Said:
    """An answer: its text, what is wrong with it (`Answered.fault`), its length, and the form that was asked for."""

    text: str
    fault: str
    tokens: int
    asked: str = "text"


def grade(given: Said, answer: Said | None) -> dict[str, float]:
    """Scores by name; None for `answer` where there was none, which has 0 everywhere.

    `exact`: the same words. `length`: the shorter length as a share of the longer one. `json`, where a form was asked
    for: whether it was met.
    """
    scores = {"exact": 0.0, "length": 0.0}
    if given.asked in _FORMS:
        scores["json"] = float(answer is not None and not answer.fault)
    if answer is not None:
        scores["exact"] = float(given.text.split() == answer.text.split())
        longer = max(given.tokens, answer.tokens)
        scores["length"] = min(given.tokens, answer.tokens) / longer if longer else 1.0
    return scores
