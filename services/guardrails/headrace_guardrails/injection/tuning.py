"""An ensemble from labelled texts: what `headrace guardrails tune` runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from headrace_guardrails.injection.ensemble import Ensemble, matrix, write
from headrace_guardrails.injection.features import features
from headrace_guardrails.injection.train import Rows, threshold, train
from headrace_guardrails.windows import windows

_MOST_WINDOWS = 4
_BATCH = 64

Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]


@dataclass(frozen=True, slots=True)
class Tuned:
    """An ensemble, and what it did on sources that were held out."""

    ensemble: Ensemble
    recall: float
    false_positives: float


def tune(items: Sequence[tuple[str, str, str]], embed: Embed, budget: float) -> Tuned:
    """Train on texts with their label (`attack` or `benign`) and source.

    Raises:
        ValueError: a label is neither, or there are fewer than two sources of either.
    """
    labels = np.array([label == "attack" for _, label, _ in items], bool)
    for number, (_, label, _) in enumerate(items):
        if label not in ("attack", "benign"):
            raise ValueError(f"item {number + 1}: expected is `attack` or `benign`, not {label[:40]!r}")
    sources = [f"{label}/{source}" for _, label, source in items]
    for label in ("attack", "benign"):
        if len({source for source in sources if source.startswith(label)}) < 2:
            raise ValueError(f"two or more sources of {label} texts are needed: name them in metadata.source")
    pieces = [(number, piece) for number, item in enumerate(items) for _, piece in windows(item[0])[:_MOST_WINDOWS]]
    vectors: list[Sequence[float]] = []
    for start in range(0, len(pieces), _BATCH):
        vectors += embed([piece for _, piece in pieces[start : start + _BATCH]])
    forms = matrix([features(piece) for _, piece in pieces])
    rows = Rows(matrix(vectors), forms, None, np.array([number for number, _ in pieces]))
    digest = sha256(repr(sorted(items)).encode()).hexdigest()[:8]
    benign = ~labels
    ensemble, held_out = train(rows, labels, sources, {"input": (benign, budget)}, f"tuned-{digest}")
    score = threshold(held_out, benign, budget)
    return Tuned(ensemble, float((held_out[labels] > score).mean()), float((held_out[benign] > score).mean()))


def save(tuned: Tuned, path: Path, texts: int, embedding: str) -> None:
    """Write the ensemble for the check `injection`."""
    write(tuned.ensemble, path, {"trained_by": "headrace guardrails tune", "texts": texts, "embedding": embedding})
