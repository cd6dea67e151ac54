"""Words of texts as they are compared: without endings, and without those that only build sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable

_TOKEN = re.compile(r"\d+(?:[.,:]\d+)*|\w+")
_ENDINGS = ("ing", "ies", "ed", "es", "s")
_LEAST_STEM = 3

_TEXT = """
a about after all also am an and any are as at be because been before being but by can could did do does doing done
down each for from further had has have having he her here him his how i if in into is it its may me might more most
must my no nor not of off on once only or other our out over own same shall she should so some such than that the
their them then there these they this those through to too under until up very was we were what when where which
while who whom whose why will with would you your yes
"""
_BUILDING = frozenset(_TEXT.split())
_COUNTED = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_COUNTS = {word: str(number) for number, word in enumerate(_COUNTED, 2)}
_POINTING = frozenset(["passage", "document", "section", "table", "figure", "page", "text", "source"])
"""What answers call the passages."""

_CAPITAL = re.compile(r"(?<=[^\W\d_] |[,;:] )[^\W\d_]\w*")
"""A word behind another one, or behind a comma: where it has a capital letter, no sentence begins with it."""


def content(text: str) -> list[str]:
    """The words of a text that carry meaning, in order; counts from two to twelve as numbers."""
    return [_COUNTS.get(word) or _stem(word) for word in _TOKEN.findall(text.lower()) if word not in _BUILDING]


def numbers(text: str) -> frozenset[str]:
    """Those of its words that are written as numbers."""
    return frozenset(_stem(word) for word in _TOKEN.findall(text) if word[0].isdigit())


def names(text: str) -> frozenset[str]:
    """Those of its words that stand for somebody, something or a count: with a capital letter within a sentence."""
    within = [word for word in _CAPITAL.findall(text) if word[0].isupper()]
    found = {*content(" ".join(within)), *(count for word in _TOKEN.findall(text) if (count := _COUNTS.get(word)))}
    return frozenset(found - _POINTING)


def capitals(texts: Iterable[str]) -> float:
    """Share of the words within sentences that have a capital letter, 0 to 1; about 0.5 where all nouns have one."""
    within = [word for text in texts for word in _CAPITAL.findall(text) if word.lower() not in _BUILDING]
    return sum(word[0].isupper() for word in within) / len(within) if within else 0.0


def _stem(word: str) -> str:
    if word[0].isdigit():
        return word.replace(",", "")
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _LEAST_STEM:
            return word[: -len(ending)]
    return word
