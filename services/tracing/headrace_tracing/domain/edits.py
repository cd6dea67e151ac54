"""How much two texts have in common."""

from __future__ import annotations

from difflib import SequenceMatcher

_MOST_WORDS = 1500


def similarity(one: str, other: str) -> float:
    """1 for the same words in the same order, 0 for none in common; by words, so that time stays short.

    Twice the number of matching words over the number of all words (Ratcliff and Metzener 1988, "Pattern matching: the
    gestalt approach"); of long texts the first 1,500 words.
    """
    left, right = one.split()[:_MOST_WORDS], other.split()[:_MOST_WORDS]
    return SequenceMatcher(None, left, right, autojunk=len(left) + len(right) > 1000).ratio()
