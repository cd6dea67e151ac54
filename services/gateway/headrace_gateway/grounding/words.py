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


def content(text: str) -> list[str]:
    """The words of a text that carry meaning, in order."""
    return [_stem(word) for word in _TOKEN.findall(text.lower()) if word not in _BUILDING]


def numbers(words: Iterable[str]) -> frozenset[str]:
    """Those of the words that are numbers."""
    return frozenset(word for word in words if word[0].isdigit())


def _stem(word: str) -> str:
    if word[0].isdigit():
        return word.replace(",", "")
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _LEAST_STEM:
            return word[: -len(ending)]
    return word
