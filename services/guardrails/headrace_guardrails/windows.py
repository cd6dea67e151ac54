"""Long texts in pieces that small models read."""

from __future__ import annotations

import re

WINDOW_CHARS = 900
"""About 200 tokens of English: what small classifiers were trained on."""
MOST_WINDOWS = 32

_BREAK = re.compile(r"(?<=[.!?\n])\s+")


def windows(text: str, most: int = MOST_WINDOWS) -> list[tuple[int, str]]:
    """A text in pieces of at most `WINDOW_CHARS`, cut where sentences end, with where they begin.

    Of a text with more than `most` pieces the beginning and the end are taken, and pieces spread evenly between.
    """
    found: list[tuple[int, str]] = []
    start = at = 0
    ends = [*(match.end() for match in _BREAK.finditer(text)), len(text)]
    for end in ends:
        if end - start > WINDOW_CHARS and at > start:
            found.append((start, text[start:at]))
            start = at
        while end - start > WINDOW_CHARS:
            found.append((start, text[start : start + WINDOW_CHARS]))
            start += WINDOW_CHARS
        at = end
    if start < len(text):
        found.append((start, text[start:]))
    found = [(at, piece) for at, piece in found if piece.strip()]
    if len(found) <= most:
        return found
    return [found[round(place * (len(found) - 1) / (most - 1))] for place in range(most)]
