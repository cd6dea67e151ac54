"""Labels of a classifier in inference: toxicity, topics and the like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from headrace_detectors import Action, Extra, Finding
from headrace_guardrails.ports import Subject
from headrace_guardrails.windows import windows
from headrace_kit.config.guardrails import ClassifierCheck


class Classifier(Protocol):
    """What gives labels."""

    async def classify(self, deployment: str, texts: Sequence[str], subject: Subject) -> list[Mapping[str, float]]:
        """The probability of each label, a text each."""


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
