"""The ensemble: a logistic regression over an embedding, features of form, and a classifier, calibrated together."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace_guardrails.injection import orders
from headrace_guardrails.injection.features import NAMES

BUILT_IN = Path(__file__).parent / "ensemble.json"


@dataclass(frozen=True, slots=True)
class Ensemble:
    """One trained ensemble.

    Attributes:
        version: what findings carry.
        embedding: weights of the embedding.
        form: weights of the features, in the order of `features.NAMES`.
        classifier: weight of the classifier's log-odds; 0 when it takes no part.
        bias: the constant.
        scale: the slope of the calibration (Platt scaling over held-out sources).
        offset: its constant.
        thresholds: least calibrated probability by direction.
        orders: judges the sentences of a passage, by `features.NAMES` and `orders.NAMES`, in the directions that it has
            thresholds for; None where none was trained.
    """

    version: str
    embedding: NDArray[np.float64]
    form: NDArray[np.float64]
    classifier: float
    bias: float
    scale: float
    offset: float
    thresholds: Mapping[str, float]
    orders: Ensemble | None = None

    def probability(
        self, vectors: NDArray[np.float64], forms: NDArray[np.float64], log_odds: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """Calibrated probabilities of texts.

        Args:
            vectors: embeddings, a row each.
            forms: features, a row each.
            log_odds: of the classifier; None where there is none: it is left out as undecided.
        """
        raw = vectors @ self.embedding + forms @ self.form + self.bias
        if log_odds is not None:
            raw = raw + self.classifier * np.clip(log_odds, -MOST_LOG_ODDS, MOST_LOG_ODDS)
        found: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(self.scale * raw + self.offset, -40, 40)))
        return found


MOST_LOG_ODDS = 6.0
"""A classifier that is sure of everything must not outvote the rest."""


def read(path: Path) -> Ensemble:
    """An ensemble from its file.

    Raises:
        ValueError: it is none, or made for other features.
        OSError: it cannot be read.
    """
    try:
        written = json.loads(path.read_text())
        found = _of(written, NAMES)
        if "input" not in found.thresholds:
            raise ValueError("the ensemble lacks a threshold for input")
        hidden = written.get("orders")
        return replace(found, orders=_of(hidden, (*NAMES, *orders.NAMES))) if hidden else found
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no ensemble: {error}") from error


def _of(written: Mapping[str, Any], names: tuple[str, ...]) -> Ensemble:
    if tuple(written["features"]) != names:
        raise ValueError("the ensemble was trained on other features; tune it again")
    found = Ensemble(
        version=str(written["version"]),
        embedding=np.array(written["embedding"], float),
        form=np.array(written["form"], float),
        classifier=float(written["classifier"]),
        bias=float(written["bias"]),
        scale=float(written["scale"]),
        offset=float(written["offset"]),
        thresholds={str(name): float(value) for name, value in written["thresholds"].items()},
    )
    if len(found.form) != len(names):
        raise ValueError("the ensemble lacks weights")
    return found


def write(ensemble: Ensemble, path: Path, about: Mapping[str, Any]) -> None:
    """Write an ensemble; `about` says what it was trained on."""
    written = {"about": about, **_written(ensemble, NAMES)}
    if ensemble.orders is not None:
        written["orders"] = _written(ensemble.orders, (*NAMES, *orders.NAMES))
    path.write_text(json.dumps(written, indent=1) + "\n")


def _written(ensemble: Ensemble, names: Sequence[str]) -> dict[str, Any]:
    return {
        "version": ensemble.version,
        "features": list(names),
        "embedding": [round(float(value), 5) for value in ensemble.embedding],
        "form": [round(float(value), 5) for value in ensemble.form],
        "classifier": round(ensemble.classifier, 5),
        "bias": round(ensemble.bias, 5),
        "scale": round(ensemble.scale, 5),
        "offset": round(ensemble.offset, 5),
        "thresholds": {name: round(value, 5) for name, value in ensemble.thresholds.items()},
    }


def log_odds(probability: float) -> float:
    """ln(p / (1 - p)), bounded."""
    bounded = min(1 - 1e-6, max(1e-6, probability))
    return math.log(bounded / (1 - bounded))


def vector(raw: bytes) -> NDArray[np.float64]:
    """An embedding from the wire."""
    return np.frombuffer(raw, "<f4").astype(float)


def matrix(rows: Sequence[Any]) -> NDArray[np.float64]:
    """Rows as one array."""
    return np.array(rows, float)
