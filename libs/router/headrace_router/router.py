"""A learned router, and one request's way through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headrace_router.answers import Answer
from headrace_router.plan import Members, Plan
from headrace_router.predictors import Array, Calibration, Predictor, logit
from headrace_router.prompt import embedded_text, measure
from headrace_router.state import Observed


@dataclass(frozen=True)
class Head:
    """A predictor of the posterior with its calibration."""

    predictor: Predictor
    calibration: Calibration

    def __call__(self, rows: Array) -> Array:
        """Expected quality, 0 to 1."""
        return self.calibration(self.predictor(rows)[:, 0])


@dataclass(frozen=True)
class Step:
    """What to do next: ask the deployment `ask`, or (`ask` is None) give the answer of `answer`.

    `quality` is how good the answer of `answer` is expected to be, 0 to 1; `answer` is empty where there is none yet.
    """

    ask: str | None
    answer: str
    quality: float


@dataclass(frozen=True)
class Router:
    """A trained router. Immutable; one serves all requests.

    `dimensions` is the length of the embedding that it wants, 0 where it wants none. `metadata` is for people: the
    dataset's hash, versions, metrics.
    """

    deployments: tuple[str, ...]
    rates: tuple[Mapping[str, float], ...]
    dimensions: int
    prior: Predictor
    calibrations: tuple[Calibration, ...]
    asked: Head
    unasked: Head
    plan: Plan
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def text_to_embed(prompt: str) -> str:
        """The part of the prompt whose embedding is wanted."""
        return embedded_text(prompt)

    def expect(self, prompt: str, embedding: Sequence[float] | None = None) -> dict[str, float]:
        """How good each deployment's answer to a prompt is expected to be, 0 to 1, before any was asked.

        Raises:
            ValueError: the embedding has the wrong length.
        """
        return dict(zip(self.deployments, self._prior(prompt, embedding).tolist(), strict=True))

    def begin(
        self,
        prompt: str,
        embedding: Sequence[float] | None = None,
        *,
        tradeoff: float,
    ) -> Episode:
        """Start a request.

        Args:
            prompt: the text that is asked, the newest message last.
            embedding: of `text_to_embed(prompt)`; left away, the router knows less where `dimensions` is not 0.
            tradeoff: quality per US dollar; the nearest that was trained holds.

        Raises:
            ValueError: the embedding has the wrong length.
        """
        prior = self._prior(prompt, embedding)
        return Episode(self, prior, self.plan.nearest(tradeoff))

    def _prior(self, prompt: str, embedding: Sequence[float] | None) -> Array:
        row = measure(prompt).astype(float)
        if self.dimensions:
            if embedding is not None and len(embedding) != self.dimensions:
                raise ValueError(f"the router wants an embedding of {self.dimensions} numbers, not {len(embedding)}")
            row = np.concatenate(
                [row, np.zeros(self.dimensions) if embedding is None else np.asarray(embedding, float)]
            )
        return np.asarray(self.priors(row[None, :])[0])

    def priors(self, rows: Array) -> Array:
        """What each deployment's answer is expected to be worth, for rows of features; a column a deployment."""
        raw = self.prior(rows)
        return np.column_stack([calibrate(raw[:, place]) for place, calibrate in enumerate(self.calibrations)])


class Episode:
    """One request: what was answered so far, and what to do next. Not shared between tasks.

    ```python
    episode = router.begin(prompt, tradeoff=20)
    while (step := episode.next()).ask is not None:
        episode.saw(step.ask, await answer_of(step.ask))
    # the answer of step.answer is the one to give
    ```
    """

    def __init__(self, router: Router, prior: Array, place: int) -> None:
        self._router, self._prior, self._place = router, prior, place
        self._odds: list[float] = logit(prior).tolist()
        self._observed = Observed(router.rates)
        self._members: Members = 0
        self._allowed: Members = (1 << len(router.deployments)) - 1
        self._quality: Array | None = None

    def saw(self, deployment: str, text: str, mean_logprob: float | None = None) -> None:
        """Take an answer; `mean_logprob` where its engine told it. Raises ValueError for an unknown deployment."""
        index = self._index(deployment)
        self._observed.add(index, Answer(text, mean_logprob))
        self._members |= 1 << index
        self._quality = None

    def without(self, deployment: str) -> None:
        """Do not ask a deployment: it failed, or may not serve this request. A stranger is ignored."""
        if deployment in self._router.deployments:
            self._allowed &= ~(1 << self._index(deployment))

    def qualities(self) -> dict[str, float]:
        """How good each deployment's answer is expected to be, by all that was seen."""
        return dict(zip(self._router.deployments, self._now().tolist(), strict=True))

    def next(self) -> Step:
        """What to do now. When nothing may be asked and nothing was answered, `answer` is empty."""
        router, quality = self._router, self._now()
        best, answer = -np.inf, ""
        for index in self._observed.answers:
            if quality[index] > best:
                best, answer = float(quality[index]), router.deployments[index]
        worth, moves = router.plan.moves(self._place, quality[None, :], self._members, self._allowed)
        ask = None
        if moves:
            place = int(worth[0].argmax())
            if worth[0, place] > best:
                ask = router.deployments[moves[place]]
        return Step(ask, answer, best if answer else 0.0)

    def _now(self) -> Array:
        if self._quality is None:
            self._quality = self._prior if not self._members else self._posterior()
        return self._quality

    def _posterior(self) -> Array:
        router, seen = self._router, sorted(self._observed.answers)
        quality = np.empty(len(router.deployments))
        for head, targets in (
            (router.asked, seen),
            (router.unasked, [index for index in range(len(quality)) if index not in self._observed.answers]),
        ):
            if targets:
                rows = np.array([self._observed.features(target, self._odds, seen) for target in targets])
                quality[targets] = head(rows)
        return quality

    def _index(self, deployment: str) -> int:
        try:
            return self._router.deployments.index(deployment)
        except ValueError:
            raise ValueError(f"the router knows no deployment {deployment!r}") from None
