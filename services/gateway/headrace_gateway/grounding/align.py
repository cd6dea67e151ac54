"""Sentences of an answer beside the passages that stood in its prompt: which of them says so, and where.

A sentence is supported by a stretch of a passage as far as its words are there: the rarer a word is among the passages,
the more it counts, and most counts one that is nowhere in them. Words of the question count little, for a sentence that
only repeats it says nothing; a number that is not there, or a name that is nowhere in the passage, leaves next to
nothing. No model is asked, so the measure is
there while the answer streams, and costs some tens of microseconds a sentence.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from headrace_gateway.grounding import sentences, words
from headrace_protos.retrieval.v1.messages_pb2 import Passage

QUESTION_WEIGHT = 0.3
"""Of a word that the question has, for what it would count otherwise."""

WRONG = 0.2
"""Most that a sentence is supported whose numbers are not in the stretch, or whose names are not in its passage."""

NOUNS = 0.4
"""Share of words with a capital letter from which on they are no names: a language writes all its nouns so."""

_UNSEEN = 0.5
"""For how many stretches a word is counted that is in none of them."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A sentence of a passage, or two neighbours; `start` and `end` are code points into the passage's text."""

    passage: int
    start: int
    end: int
    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class Support:
    """The stretch that supports a sentence best, and how much: 0 to 1. None: no word of it is anywhere."""

    stretch: Stretch | None
    score: float


class Ground:
    """The passages of a prompt, made ready once for all sentences of its answers."""

    def __init__(self, passages: Sequence[Passage], question: str) -> None:
        self.passages = passages
        self._question = frozenset(words.content(question))
        self._whole = [frozenset(words.content(f"{passage.title}\n{passage.text}")) for passage in passages]
        self._named = words.capitals(passage.text for passage in passages) < NOUNS
        self._stretches = [one for number, passage in enumerate(passages) for one in _stretches(number, passage.text)]
        seen = Counter(word for one in self._stretches for word in one.words)
        self._seen = seen
        self._most = math.log(1 + (len(self._stretches) or 1) / _UNSEEN)

    def supports(self, sentence: str, hinted: Collection[int] = ()) -> list[Support]:
        """The best stretch of each passage that has any, best first.

        Args:
            hinted: places of passages that the answer names for this sentence.
        """
        said = words.content(sentence)
        if not said:
            return []
        weights = {word: self._weight(word) for word in said}
        whole = math.fsum(weights.values())
        telling = frozenset(said) - self._question
        numbers = words.numbers(sentence) - self._question
        names = words.names(sentence) - self._question if self._named else frozenset()
        there = [names <= whole for whole in self._whole]
        best: dict[int, Support] = {}
        for one in self._stretches:
            shared = one.words & weights.keys()
            if not shared or not (shared & telling or one.passage in hinted):
                continue
            score = math.fsum(weights[word] for word in shared) / whole
            if not numbers <= one.words or not there[one.passage]:
                score = min(score, WRONG)
            before = best.get(one.passage)
            # Of two that are as good, the shorter one: it was there first.
            if before is None or score > before.score + 1e-9:
                best[one.passage] = Support(one, score)
        return sorted(best.values(), key=lambda support: -support.score)

    def _weight(self, word: str) -> float:
        seen = self._seen.get(word, 0) or _UNSEEN
        weight = math.log(1 + len(self._stretches) / seen) / self._most if self._stretches else 1.0
        return weight * (QUESTION_WEIGHT if word in self._question else 1.0)


def _stretches(number: int, text: str) -> list[Stretch]:
    found = list(sentences.spans(text))
    said = [frozenset(words.content(text[start:end])) for start, end in found]
    single = [Stretch(number, *span, has) for span, has in zip(found, said, strict=True)]
    pairs = [
        Stretch(number, found[place][0], found[place + 1][1], said[place] | said[place + 1])
        for place in range(len(found) - 1)
    ]
    return [*single, *pairs]
