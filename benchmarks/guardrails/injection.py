"""Recall and false positives of the check `injection`, each source judged by an ensemble that saw nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy.stats import beta
from tokenizers import Tokenizer

from benchmarks.guardrails.sources import Item
from headrace_guardrails.injection.ensemble import Ensemble
from headrace_guardrails.injection.features import features
from headrace_guardrails.injection.train import Rows, of_texts, threshold, train
from headrace_guardrails.windows import windows

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
    budgets = {"input": (ordinary, budget), "retrieved": (documents, 0.01), "tool_result": (documents, 0.01)}
    return train(rows, labels, [item.source for item in items], budgets, "headrace-1")


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


def flagged(ensemble: Ensemble, items: Sequence[Item], embedder: Embedder, direction: str) -> tuple[int, int]:
    """How many of some texts the finished ensemble flags, and of how many."""
    rows = rows_of(items, embedder)
    found = of_texts(rows, ensemble.probability(rows.vectors, rows.forms, None), len(items))
    return int((found >= ensemble.thresholds[direction]).sum()), len(items)


def timing(embedder: Embedder) -> list[tuple[str, float, float]]:
    """Milliseconds for 200 tokens on one core, by the clock and of CPU: one by one, and a text's share of eight."""
    text = "The quick brown fox jumps over the lazy dog and runs into the wood. " * 13
    many = [text[place:] for place in range(8)]
    return [
        ("one text", *_p50(lambda: (embedder.embed([text]), features(text)), 1)),
        ("in a batch of 8", *_p50(lambda: (embedder.embed(many), [features(one) for one in many]), 8)),
        ("of it the embedding, one text", *_p50(lambda: embedder.embed([text]), 1)),
        ("of it the embedding, in a batch of 8", *_p50(lambda: embedder.embed(many), 8)),
    ]


def _p50(work: Callable[[], object], texts: int) -> tuple[float, float]:
    """Median ms a text, by the clock and of CPU."""
    clock, cpu = [], []
    for _ in range(20):
        start, worked = perf_counter(), process_time()
        work()
        clock.append(1000 * (perf_counter() - start) / texts)
        cpu.append(1000 * (process_time() - worked) / texts)
    return float(np.median(clock)), float(np.median(cpu))
