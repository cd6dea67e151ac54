"""Passages, vectors, rights and queries that are made: the same ones each time, of any number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DIMENSIONS = 384
TOPICS = 400
VOCABULARY = 30_000
WORDS = 60
OPEN, RARE = "most", "rare"
"""Groups: one may read six in ten of the passages, the other one in a hundred."""

_SPREAD = 0.9
_SEED = 5


@dataclass(frozen=True, slots=True)
class Made:
    """Texts with a unit vector and a group each, and queries of the same kind."""

    texts: list[str]
    vectors: np.ndarray
    groups: list[str]
    queries: list[str]
    query_vectors: np.ndarray


def make(passages: int, queries: int) -> Made:
    """Passages about topics: near vectors and common words within one, with Zipf's law over the words of all."""
    draw = np.random.default_rng(_SEED)
    centres = draw.standard_normal((TOPICS, DIMENSIONS)).astype(np.float32)
    own_words = draw.integers(0, VOCABULARY, (TOPICS, 40))

    def texts(topics: np.ndarray, length: int) -> list[str]:
        common = np.minimum(draw.zipf(1.3, (len(topics), length)), VOCABULARY) - 1
        own = own_words[topics[:, None], draw.integers(0, 40, (len(topics), length))]
        said = np.where(draw.random((len(topics), length)) < 0.3, own, common)
        return [" ".join(f"w{word}" for word in row) for row in said]

    def vectors(topics: np.ndarray) -> np.ndarray:
        found = centres[topics] + _SPREAD * draw.standard_normal((len(topics), DIMENSIONS)).astype(np.float32)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), "<f4")

    about, asked = draw.integers(0, TOPICS, passages), draw.integers(0, TOPICS, queries)
    thrown = draw.random(passages)
    groups = [OPEN if one < 0.6 else RARE if one < 0.61 else "others" for one in thrown]
    return Made(texts(about, WORDS), vectors(about), groups, texts(asked, 6), vectors(asked))
