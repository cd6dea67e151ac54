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
from headrace_guardrails.injection.orders import forms, sentences
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
    """Fulfils `Judge`: the surest piece of a text, and of passages and what tools return the surest sentence.

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
        self._threshold = self._least(self._ensemble, direction)
        hidden = self._ensemble.orders
        self._orders = hidden if hidden is not None and direction in hidden.thresholds else None
        self._order_threshold = self._least(hidden, direction) if hidden is not None else 1.0

    def _least(self, ensemble: Ensemble, direction: str) -> float:
        own, found = self._check.threshold, ensemble.thresholds
        return own if own is not None else found.get(direction, found.get("input", 1.0))

    @property
    def version(self) -> str:
        """See `Judge`."""
        return self._ensemble.version

    async def judge(self, text: str, subject: Subject) -> Sequence[Extra]:
        """See `Judge`."""
        whole, orders = await asyncio.gather(self._whole(text, subject), self._sentences(text, subject))
        return [*whole, *orders]

    async def _whole(self, text: str, subject: Subject) -> list[Extra]:
        pieces = windows(text)
        scores = await self.scores([piece for _, piece in pieces], subject) if pieces else np.zeros(0)
        return self._surest("attack", pieces, scores, self._threshold)

    async def _sentences(self, text: str, subject: Subject) -> list[Extra]:
        pieces = sentences(text) if self._orders is not None else []
        if self._orders is None or not pieces:
            return []
        said = [piece for _, piece in pieces]
        vectors = self._checked(await self._models.embed(self._check.embedding, said, subject))
        scores = self._orders.probability(vectors, forms(said, vectors), None)
        return self._surest("order", pieces, scores, self._order_threshold)

    def _surest(
        self, kind: str, pieces: Sequence[tuple[int, str]], scores: NDArray[np.float64], threshold: float
    ) -> list[Extra]:
        """The surest piece, where it is sure enough."""
        if not pieces or scores.max() < threshold:
            return []
        best = int(np.argmax(scores))
        start, piece = pieces[best]
        action = Action(self._check.action)
        return [Extra(Finding("injection", kind, start, start + len(piece), float(scores[best]), action))]

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
        return self._ensemble.probability(self._checked(vectors), matrix([features(text) for text in texts]), odds)

    def _checked(self, raw: Sequence[bytes]) -> NDArray[np.float64]:
        """Vectors as rows. Raises Upstream where they are another model's."""
        rows = np.stack([vector(one) for one in raw])
        if rows.shape[1] != len(self._ensemble.embedding):
            raise Upstream(
                f"{self._check.embedding!r} makes vectors of {rows.shape[1]} numbers, the ensemble was trained on "
                f"{len(self._ensemble.embedding)}"
            )
        return rows
