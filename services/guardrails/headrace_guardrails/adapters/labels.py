"""Labels of a classifier in inference: toxicity, topics and the like."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from headrace_detectors import Action, Extra, Finding
from headrace_guardrails.ports import Subject
from headrace_kit.config.guardrails import ClassifierCheck

WINDOW_CHARS = 900
"""About 200 tokens of English: what small classifiers were trained on."""
MOST_WINDOWS = 32

_BREAK = re.compile(r"(?<=[.!?\n])\s+")


class Classifier(Protocol):
    """What gives labels."""

    async def classify(self, deployment: str, texts: Sequence[str], subject: Subject) -> list[Mapping[str, float]]:
        """The probability of each label, a text each."""


def windows(text: str, most: int = MOST_WINDOWS) -> list[tuple[int, str]]:
    """A text in pieces of at most `WINDOW_CHARS`, cut where sentences end, with where they begin.

    Of a text with more than `most` pieces the beginning and the end are taken, and pieces spread evenly between.
    """
    found: list[tuple[int, str]] = []
    start = at = 0
    ends = [*(match.end() for match in _BREAK.finditer(text)), len(text)]
    for end in ends:
        if end - start > WINDOW_CHARS and at > start:
            found.append((start, text[start:at]))
            start = at
        while end - start > WINDOW_CHARS:
            found.append((start, text[start : start + WINDOW_CHARS]))
            start += WINDOW_CHARS
        at = end
    if start < len(text):
        found.append((start, text[start:]))
    found = [(at, piece) for at, piece in found if piece.strip()]
    if len(found) <= most:
        return found
    return [found[round(place * (len(found) - 1) / (most - 1))] for place in range(most)]


class ClassifierJudge:
    """Fulfils `Judge`: the surest piece of the text, for each label."""

    def __init__(self, check: ClassifierCheck, classifier: Classifier) -> None:
        self._check, self._classifier = check, classifier

    @property
    def version(self) -> str:
        """See `Judge`."""
        return self._check.deployment

    async def judge(self, text: str, subject: Subject) -> Sequence[Extra]:
        """See `Judge`."""
        pieces = windows(text)
        if not pieces:
            return []
        scores = await self._classifier.classify(self._check.deployment, [piece for _, piece in pieces], subject)
        found = []
        for label in self._check.labels:
            of_label = [one.get(label, 0.0) for one in scores]
            score = max(of_label)
            start, piece = pieces[of_label.index(score)]
            if score >= self._check.threshold:
                action = Action(self._check.action)
                found.append(Extra(Finding("classifier", label, start, start + len(piece), score, action)))
        return found
