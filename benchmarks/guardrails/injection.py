"""Recall and false positives of the check `injection`, each source judged by an ensemble that saw nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy.stats import beta
from tokenizers import Tokenizer

from benchmarks.guardrails.sources import Item
from headrace_guardrails.injection.ensemble import Ensemble
from headrace_guardrails.injection.features import features
from headrace_guardrails.injection.train import Rows, threshold, train
from headrace_guardrails.windows import windows

VERSION = "headrace-2"
_MOST_WINDOWS = 4
_BATCH = 16


class Embedder:
    """The embedding as inference makes it: masked mean of the last hidden state, length 1; one CPU thread."""

    def __init__(self, folder: Path, tokenizer: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(folder), options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(256)
        self._tokenizer.enable_padding()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """A vector a text."""
        encoded = self._tokenizer.encode_batch(list(texts))
        mask = np.array([one.attention_mask for one in encoded])
        given = {
            "input_ids": np.array([one.ids for one in encoded]),
            "attention_mask": mask,
            "token_type_ids": np.array([one.type_ids for one in encoded]),
        }
        hidden = self._session.run(None, given)[0]
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), float)


def rows_of(items: Sequence[Item], embedder: Embedder) -> Rows:
    """The pieces of all texts; the first four of each."""
    pieces = [(number, piece) for number, item in enumerate(items) for _, piece in windows(item.text)[:_MOST_WINDOWS]]
    order = sorted(range(len(pieces)), key=lambda place: len(pieces[place][1]))
    vectors = np.zeros((len(pieces), 384))
    for start in range(0, len(order), _BATCH):
        chosen = order[start : start + _BATCH]
        vectors[chosen] = embedder.embed([pieces[place][1] for place in chosen])
    forms = np.array([features(piece) for _, piece in pieces])
    return Rows(vectors, forms, None, np.array([number for number, _ in pieces]))


def learn(items: Sequence[Item], rows: Rows, budget: float) -> tuple[Ensemble, NDArray[np.float64]]:
    """Train on everything; thresholds from what held-out sources say, hard negatives left out of the budget."""
    labels = np.array([item.attack for item in items])
    ordinary = np.array([not item.attack and not item.hard for item in items])
    documents = ordinary & np.array([item.direction == "retrieved" for item in items])
    budgets = {"input": (ordinary, budget), "retrieved": (documents, 0.004), "tool_result": (documents, 0.004)}
    return train(rows, labels, [item.source for item in items], budgets, VERSION)


def table(items: Sequence[Item], held_out: NDArray[np.float64], budget: float) -> list[tuple[str, int, str, str]]:
    """By source: how many texts, which share was flagged when the source was held out, and its 95% interval."""
    ordinary = np.array([not item.attack and not item.hard for item in items])
    score = threshold(held_out, ordinary, budget)
    groups: dict[str, list[bool]] = {}
    for item, value in zip(items, held_out, strict=True):
        kind = "attacks" if item.attack else "hard negatives" if item.hard else "ordinary"
        for name in (f"all {kind}", item.source):
            groups.setdefault(name, []).append(bool(value > score))
    return [(name, len(hits), f"{np.mean(hits):.1%}", interval(sum(hits), len(hits))) for name, hits in groups.items()]


def interval(hits: int, of: int) -> str:
    """Clopper and Pearson's 95% interval of a share."""
    low = beta.ppf(0.025, hits, of - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, of - hits) if hits < of else 1.0
    return f"{low:.1%} to {high:.1%}"
