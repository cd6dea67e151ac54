"""Vectors and scores, where an adapter makes them."""

from __future__ import annotations

import math
from array import array

import pytest

from headrace_kit.errors import BadInput


def vectors(found) -> list[array]:
    return [array("f", vector) for vector in found.vectors]


def dot(one, other) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_vectors_come_in_the_order_of_their_texts_and_normalised(subject):
    if subject.embedder is None:
        pytest.skip(subject.elsewhere["embed"])
    texts = [f"A text about the number {number}." for number in range(9)]
    together = vectors(await subject.embedder.embed(texts, truncate=False))
    assert all(math.isclose(dot(vector, vector), 1, abs_tol=1e-3) for vector in together)
    for text, vector in zip(texts, together, strict=True):
        (alone,) = vectors(await subject.embedder.embed([text], truncate=False))
        assert dot(alone, vector) > 0.99
        assert dot(alone, vector) >= max(dot(alone, other) for other in together) - 1e-3


async def test_a_text_that_is_too_long_is_named_or_cut(subject):
    if subject.embedder is None:
        pytest.skip(subject.elsewhere["embed"])
    texts = ["short", "long " * 3000]
    with pytest.raises(BadInput) as refused:
        await subject.embedder.embed(texts, truncate=False)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "texts[1]")
    cut = await subject.embedder.embed(texts, truncate=True)
    assert len(cut.vectors) == 2
    assert cut.usage.input_tokens > 10


async def test_scores_come_in_the_order_of_the_documents(subject):
    if subject.reranker is None:
        pytest.skip(subject.elsewhere["rerank"])
    documents = ["The cafeteria opens at noon.", "To reset a password, open the settings.", "We have a garden."]
    scores = (await subject.reranker.rerank("How do I reset my password?", documents)).scores
    assert max(range(3), key=scores.__getitem__) == 1
    backwards = (await subject.reranker.rerank("How do I reset my password?", documents[::-1])).scores
    assert max(range(3), key=backwards.__getitem__) == 1
