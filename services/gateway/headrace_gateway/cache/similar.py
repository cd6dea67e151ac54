"""Whether two questions mean the same: by their vectors, and by the words that a vector overlooks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from headrace_gateway.cache.ports import Known
from headrace_gateway.cache.words import NEGATIONS, OPPOSITES

_MOST = 3
_TOKEN = re.compile(r"[^\W_]+(?:[._/:@'\u2019-][^\W_]+)*|[_#$%&*+<=>^|~]", re.UNICODE)
_ENDS = frozenset(".!?:\n")
_QUOTED = re.compile(r"[\"“«`]([^\"”»`]{1,200})[\"”»`]")


def nearest(question: np.ndarray, known: Sequence[Known], at_least: float) -> list[str]:
    """Keys of the answers to the most similar questions, best first, at most three.

    Args:
        question: vector of length 1, float32.
        known: questions that were answered.
        at_least: least cosine similarity.
    """
    same = [entry for entry in known if len(entry.vector) == question.nbytes]
    if not same:
        return []
    matrix = np.frombuffer(b"".join([entry.vector for entry in same]), dtype="<f4").reshape(len(same), -1)
    scores = matrix @ question
    best = np.argsort(-scores, kind="stable")[:_MOST]
    return [same[place].exact for place in best if scores[place] >= at_least]


def same_terms(one: str, other: str) -> bool:
    """Whether two questions agree in what carries meaning though it hardly moves a vector.

    That is: numbers, words with digits, capitals or signs inside, quoted text, signs, negations, and which of two
    opposites stands there. Words that only the list of negations or opposites knows are known in some languages only.
    """
    return _terms(one) == _terms(other)


def _terms(text: str) -> Counter[str]:
    found: Counter[str] = Counter(f'"{quoted.strip().lower()}' for quoted in _QUOTED.findall(text))
    begins = True
    for match in _TOKEN.finditer(text):
        written, word = match[0], match[0].lower().replace("\u2019", "'")
        if word in NEGATIONS or word.endswith("n't"):
            found["negation"] += 1
        elif word in OPPOSITES or _is_name(written, begins):
            found[word] += 1
        begins = text[match.end() : match.end() + 1] in _ENDS
    return found


def _is_name(written: str, begins: bool) -> bool:
    """Whether a word is a number, a name, an identifier or a sign; a capital that `begins` a sentence says nothing."""
    return (
        not written[0].isalnum()
        or any(character.isdigit() or character in "._/:@" for character in written)
        or any(character.isupper() for character in written[1:])
        or (written[0].isupper() and not begins and written != "I")
    )
