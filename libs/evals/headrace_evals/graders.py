"""Scores of one answer, 0 to 1, more is better. Judges are in `judging`: they compare two answers."""

from __future__ import annotations

import json
import math
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import re2
import referencing

from headrace_evals.datasets import Item
from headrace_evals.ports import Answer, Platform
from headrace_evals.suite import Cited, Contains, Exact, Grader, Json, Judge, Number, Pattern, Similarity, SuiteInvalid

_NOTHING: referencing.Registry[Any] = referencing.Registry()
"""Knows no other document, and fetches none."""


def check(name: str, grader: Grader) -> None:
    """Find out before anything is asked whether a grader can work.

    Raises:
        SuiteInvalid: its expression or schema is broken; the message names the field.
    """
    if isinstance(grader, Pattern):
        try:
            re2.compile(grader.pattern.replace("{expected}", "x"))
        except re2.error as error:
            raise SuiteInvalid(f"graders.{name}.pattern: RE2 cannot read it: {error}") from error
    if isinstance(grader, Json) and grader.schema is not None:
        try:
            jsonschema.Draft202012Validator.check_schema(grader.schema)
        except jsonschema.SchemaError as error:
            raise SuiteInvalid(f"graders.{name}.schema: {error.message}") from error


def grade(grader: Grader, item: Item, answer: Answer) -> float | None:
    """The score of an answer; None for graders that need a model."""
    text, expected = answer.text, item.expected or ""
    match grader:
        case Exact():
            return float(_folded(text, grader.ignore_case) == _folded(expected, grader.ignore_case))
        case Contains():
            said = _folded(text, grader.ignore_case)
            return float(all(_folded(word, grader.ignore_case) in said for word in grader.words or [expected]))
        case Pattern():
            pattern = grader.pattern.replace("{expected}", re2.escape(expected))
            return float(re2.search(pattern, text) is not None)
        case Number():
            return float(_number(text, expected, grader.tolerance))
        case Json():
            return float(_json(grader, text, expected))
        case Cited():
            wanted = grader.documents or item.metadata.get("documents") or []
            return float(bool(set(wanted) & set(answer.citations)) if wanted else bool(answer.citations))
    return None


async def similarity(grader: Similarity, platform: Platform, item: Item, answer: Answer) -> float:
    """Cosine of what was said and what was expected; opposites have 0 too. Raises as `Platform`."""
    if not answer.text.strip():
        return 0.0
    one, other = await platform.embed(grader.model, [answer.text, item.expected or ""])
    length = math.sqrt(math.fsum(x * x for x in one) * math.fsum(x * x for x in other))
    return max(0.0, min(1.0, math.fsum(x * y for x, y in zip(one, other, strict=True)) / length)) if length else 0.0


def needs_model(grader: Grader) -> bool:
    """Whether `grade` has no score for it."""
    return isinstance(grader, Similarity | Judge)


def _folded(text: str, ignore_case: bool) -> str:
    words = " ".join(text.split())
    return words.casefold() if ignore_case else words


def _number(text: str, expected: str, tolerance: float) -> bool:
    found = re2.findall(r"-?\d[\d,]*(?:\.\d+)?", text)
    if not found:
        return False
    try:
        wanted = float(expected.replace(",", ""))
        return abs(float(found[-1].replace(",", "")) - wanted) <= tolerance
    except ValueError:
        return False


def _json(grader: Json, text: str, expected: str) -> bool:
    try:
        value = json.loads(text)
        if grader.equal and value != json.loads(expected):
            return False
        if grader.schema is None:
            return True
        validator = jsonschema.Draft202012Validator(grader.schema, registry=_NOTHING)
        return bool(validator.is_valid(value))
    except (ValueError, RecursionError, referencing.exceptions.Unresolvable):
        return False
