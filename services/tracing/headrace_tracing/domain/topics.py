"""Topics by meaning: k-means over the vectors of questions of a time before, and how questions spread over them.

Topics are learned from one half of the questions before and counted in the other and in those of now, so no topic
favours the questions that it was learned from, and without a change both sides are samples of one distribution.

Sources: D. Arthur and S. Vassilvitskii, "k-means++: The Advantages of Careful Seeding", 2007; I. S. Dhillon and D. S.
Modha, "Concept Decompositions for Large Sparse Text Data using Clustering", 2001 (k-means by cosine).
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from headrace_tracing.domain.features import content_words
from headrace_tracing.domain.profiles import MEANING, Profile
from headrace_tracing.domain.sampled import Question

Vectors = NDArray[np.float32]
"""One a row, each of length 1."""

UNLIKE = "unlike all of them"
"""Bin of questions that are further from each topic than nearly all of those before."""

_UNLIKE_SHARE = 0.02
_LEAST_OF_TOPIC = 20
_STARTS, _STEPS = 3, 25
_NAMING, _LEAST_SAID = 3, 5


def topic_profiles(
    questions: Sequence[Question], tenant: str, model: str, last: int, first_now: int, most: int
) -> list[Profile]:
    """How the questions to one model spread over the topics of those before `first_now`, by day and collection.

    Args:
        questions: of the days before and of now, in any order. Those with a vector of another size are left out.
        last: the last day of now; the profiles say so in `learned`.
        most: topics at most; fewer where there are few questions.

    Returns:
        nothing where the days before have too few questions to tell topics apart.
    """
    sizes = Counter(len(question.vector) for question in questions)
    size = max(sizes, key=lambda one: (sizes[one], one), default=0)
    used = sorted((one for one in questions if size and len(one.vector) == size), key=lambda one: one.trace_id)
    learning = [one for one in used if one.day < first_now and _half(one)]
    counted = [one for one in used if one.day >= first_now or not _half(one)]
    before = [at for at, one in enumerate(counted) if one.day < first_now]
    topics = min(most, len(learning) // _LEAST_OF_TOPIC)
    if topics < 2 or not before:
        return []
    vectors = _matrix(learning)
    centres = learned(vectors, topics)
    own = nearest(vectors, centres)[0]
    # The largest first, so that numbers mean something.
    order = np.argsort(-np.bincount(own, minlength=len(centres)), kind="stable")
    centres = centres[order]
    own = nearest(vectors, centres)[0]
    names = named(learning, own.tolist(), len(centres))
    found, likeness = nearest(_matrix(counted), centres)
    far = np.quantile(likeness[before], _UNLIKE_SHARE)
    return _profiles(
        (
            (one, UNLIKE if like < far else names[topic])
            for one, topic, like in zip(counted, found.tolist(), likeness.tolist(), strict=True)
        ),
        tenant,
        model,
        last,
    )


def learned(vectors: Vectors, topics: int) -> Vectors:
    """Centres of at most `topics` groups of vectors, each of length 1: the best of a few starts, the same each time."""
    draw = np.random.default_rng(0)
    best: tuple[float, Vectors] | None = None
    for _ in range(_STARTS):
        centres = _seeds(vectors, topics, draw)
        for _ in range(_STEPS):
            own, likeness = nearest(vectors, centres)
            sums = np.zeros_like(centres)
            np.add.at(sums, own, vectors)
            for empty in np.flatnonzero(np.bincount(own, minlength=topics) == 0):
                sums[empty] = vectors[int(np.argmin(likeness))]
            moved = _unit(sums)
            if np.allclose(moved, centres, atol=1e-5):
                break
            centres = moved
        total = float(nearest(vectors, centres)[1].sum())
        if best is None or total > best[0]:
            best = total, centres
    assert best is not None
    return best[1]


def nearest(vectors: Vectors, centres: Vectors) -> tuple[NDArray[np.intp], Vectors]:
    """The nearest centre of each vector, and their cosine."""
    likeness = vectors @ centres.T
    own = likeness.argmax(axis=1)
    return own, likeness[np.arange(len(vectors)), own]


def named(questions: Sequence[Question], own: Sequence[int], topics: int) -> list[str]:
    """A name for each topic, `03 invoice, refund`: its number, and words that are said in it more than elsewhere.

    A word counts once for who said it, and one that fewer than five said is nobody's to read: it names nothing.
    """
    said_in: list[set[tuple[str, str]]] = [set() for _ in range(topics)]
    askers: list[set[str]] = [set() for _ in range(topics)]
    for question, topic in zip(questions, own, strict=True):
        askers[topic].add(question.asker)
        said_in[topic].update((word, question.asker) for word in content_words(question.text))
    counts = [Counter(word for word, _ in said) for said in said_in]
    everywhere: Counter[str] = Counter()
    for said in counts:
        everywhere.update(said)
    everybody = sum(map(len, askers))
    names = []
    for topic, said in enumerate(counts):
        weights = {
            word: count * math.log(count * everybody / (everywhere[word] * len(askers[topic])))
            for word, count in said.items()
            if count >= _LEAST_SAID
        }
        best = sorted((word for word in weights if weights[word] > 0), key=lambda word: (-weights[word], word))
        names.append(f"{topic + 1:02d} {', '.join(best[:_NAMING])}".rstrip())
    return names


def _profiles(found: Iterable[tuple[Question, str]], tenant: str, model: str, last: int) -> list[Profile]:
    counts: dict[tuple[int, str], Counter[str]] = {}
    for question, topic in found:
        for collection in {"", *question.collections}:
            counts.setdefault((question.day, collection), Counter())[topic] += 1
    return [
        Profile(day, tenant, model, collection, MEANING, dict(of), last)
        for (day, collection), of in sorted(counts.items())
    ]


def _half(question: Question) -> bool:
    return zlib.crc32(question.trace_id) & 1 == 1


def _matrix(questions: Sequence[Question]) -> Vectors:
    raw = np.frombuffer(b"".join(one.vector for one in questions), "<f2").astype(np.float32)
    return _unit(np.nan_to_num(raw.reshape(len(questions), -1)))


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    made: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return made


def _seeds(vectors: Vectors, topics: int, draw: np.random.Generator) -> Vectors:
    chosen = [int(draw.integers(len(vectors)))]
    far = 1 - vectors @ vectors[chosen[0]]
    for _ in range(topics - 1):
        weights = np.maximum(far, 0).astype(np.float64)
        total = weights.sum()
        at = int(draw.choice(len(vectors), p=weights / total)) if total > 1e-9 else int(draw.integers(len(vectors)))
        chosen.append(at)
        far = np.minimum(far, 1 - vectors @ vectors[at])
    return vectors[chosen]
