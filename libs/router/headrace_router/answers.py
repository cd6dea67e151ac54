"""What can be told about an answer without knowing whether it is right, and whether two answers say the same."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

READ = 8000
"""Characters of an answer that are looked at, from its end where its conclusion is sought."""
_SHORT = 64
_CHOICE = re.compile(r"^\W*([A-H])\W*(?:$|[).:\]]\s*[^\n]{0,100}\s*$)")
_MARKED = re.compile(
    r"(?:####|\\boxed\{|answer(?:\s+is|:)+\s*:?)\s*\(?\$?"
    r"((?-i:[A-H])\b(?!['\w])|-?[\d,]*\.?\d+|[^\n.}]{1,64})",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_WORD = re.compile(r"\w+")
_FENCE = re.compile(r"```(\w*)|\[(/?)(?:PYTHON|CODE)\]")


@dataclass(frozen=True)
class Answer:
    """One answer. `mean_logprob` is the mean natural log probability of its tokens, None where nobody told it."""

    text: str
    mean_logprob: float | None = None

    @cached_property
    def final(self) -> str | None:
        """Its conclusion in a form that can be compared: a choice, a number, a short text, JSON. None: it has none."""
        return final_answer(self.text)

    @cached_property
    def words(self) -> frozenset[str]:
        """The words in it."""
        return frozenset(_WORD.findall(self.text[:READ].lower()))

    @cached_property
    def shape(self) -> tuple[float, float, float, float]:
        """Log of its length, whether it has a conclusion, whether its code says Python or another language, whether it
        was cut off (a fence or bracket that was never closed)."""
        text = self.text[:READ]
        fences = [match[1].lower() if match[1] is not None else "python" for match in _FENCE.finditer(text)]
        language = 0.0
        if fences:
            language = 1.0 if fences[0] in ("python", "py") else 0.5 if not fences[0] else -1.0
        cut = float(len(fences) % 2 or abs(text.count("(") - text.count(")")) > 1)
        return math.log1p(len(self.text)), float(self.final is not None), language, cut


def final_answer(text: str) -> str | None:
    """The conclusion of an answer, normalised so that two that mean the same are equal; None where it has none."""
    text = text.strip()
    if not text:
        return ""
    if len(text) <= 200 and (choice := _CHOICE.match(text)):
        return choice[1]
    if text[0] in "[{" and len(text) <= READ:
        try:
            return json.dumps(json.loads(text), sort_keys=True)
        except (ValueError, RecursionError):
            pass
    if marked := _MARKED.findall(text[-READ:]):
        return _normal(marked[-1])
    if len(text) <= _SHORT and "\n" not in text:
        return _normal(text)
    return None


def _normal(text: str) -> str:
    if number := _NUMBER.fullmatch(text.strip().strip("$€£%.")):
        value = float(number[0].replace(",", ""))
        return f"{value:.10g}"
    words = " ".join(_WORD.findall(text.lower()))
    return words.upper() if len(words) == 1 else words


def agreement(one: Answer, other: Answer) -> tuple[float, bool]:
    """How far two answers agree, 0 to 1, and whether that is a verdict: both have a conclusion.

    Otherwise it is the share of words that they have in common (Jaccard).
    """
    if one.final is not None and other.final is not None:
        return float(one.final == other.final), True
    if not one.words or not other.words:
        return 0.0, False
    both = len(one.words & other.words)
    return both / (len(one.words) + len(other.words) - both), False


def surprise(answer: Answer, rates: Mapping[str, float]) -> float:
    """How unusual a conclusion is for the one who gave it, in nats: a model that says B to most questions tells more
    by an A. `rates` are the shares of its usual conclusions; 0 where the answer has none."""
    if answer.final is None or not rates:
        return 0.0
    return -math.log(max(0.01, rates.get(answer.final, 0.01)))
