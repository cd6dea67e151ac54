"""The check `injection`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headrace_detectors import Action, Extra, Finding
from headrace_guardrails.injection.ensemble import BUILT_IN, Ensemble, log_odds, matrix, read, vector
from headrace_guardrails.injection.features import features
from headrace_guardrails.ports import Subject
from headrace_guardrails.windows import windows
from headrace_kit.config.guardrails import InjectionCheck
from headrace_kit.errors import BadInput, Upstream


class Models(Protocol):
    """The small models in inference."""

    async def classify(self, deployment: str, texts: Sequence[str], subject: Subject) -> list[Mapping[str, float]]:
        """The probability of each label, a text each."""

    async def embed(self, deployment: str, texts: Sequence[str], subject: Subject) -> list[bytes]:
        """A vector a text."""


class InjectionJudge:
    """Fulfils `Judge`: the surest piece of a text.

    Args:
        check: the check.
        direction: chooses the threshold, where the check names none.
        models: the small models.
        folder: where a file is that the check names.

    Raises:
        BadInput: the ensemble cannot be read.
    """

    def __init__(self, check: InjectionCheck, direction: str, models: Models, folder: Path) -> None:
        self._check, self._models = check, models
        try:
            self._ensemble: Ensemble = read(folder / check.ensemble if check.ensemble else BUILT_IN)
        except (OSError, ValueError) as error:
            raise BadInput(str(error), param="ensemble") from error
        if check.classifier is not None and not self._ensemble.classifier:
            raise BadInput("this ensemble takes no classifier; tune one that does", param="classifier")
        thresholds = self._ensemble.thresholds
        own = check.threshold
        self._threshold = own if own is not None else thresholds.get(direction, thresholds["input"])

    @property
    def version(self) -> str:
        """See `Judge`."""
        return self._ensemble.version

    async def judge(self, text: str, subject: Subject) -> Sequence[Extra]:
        """See `Judge`."""
        pieces = windows(text)
        if not pieces:
            return []
        scores = await self.scores([piece for _, piece in pieces], subject)
        best = int(np.argmax(scores))
        if scores[best] < self._threshold:
            return []
        start, piece = pieces[best]
        finding = Finding(
            "injection", "attack", start, start + len(piece), float(scores[best]), Action(self._check.action)
        )
        return [Extra(finding)]

    async def scores(self, texts: Sequence[str], subject: Subject) -> NDArray[np.float64]:
        """Calibrated probabilities, a text each. Raises HeadraceError."""
        classifier = self._check.classifier
        embedding = self._models.embed(self._check.embedding, texts, subject)
        odds = None
        if classifier is None:
            vectors = await embedding
        else:
            vectors, labels = await asyncio.gather(embedding, self._models.classify(classifier, texts, subject))
            odds = matrix([log_odds(found.get(self._check.label, 0.0)) for found in labels])
        rows = np.stack([vector(raw) for raw in vectors])
        if rows.shape[1] != len(self._ensemble.embedding):
            raise Upstream(
                f"{self._check.embedding!r} makes vectors of {rows.shape[1]} numbers, the ensemble was trained on "
                f"{len(self._ensemble.embedding)}"
            )
        return self._ensemble.probability(rows, matrix([features(text) for text in texts]), odds)
