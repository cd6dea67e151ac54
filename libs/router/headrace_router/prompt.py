"""Numbers about a prompt that cost microseconds: its length, what kind of task it looks like, its words hashed.

They are part of the file format: a change here needs a new `FORMAT` in `file`.
"""

from __future__ import annotations

import re
import zlib
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

TAIL = 2000
"""Characters at the end of a prompt that are looked at: instructions and examples come first, the question last."""
EMBEDDED = 800
"""Characters at the end of a prompt that are embedded: about 200 tokens, what small embedding models take."""
BUCKETS = 128
_WORD = re.compile(r"\w+")
_OPTION = re.compile(r"^\s*\(?[A-H][).:]\s", re.MULTILINE)
_HINTS = (
    "function",
    "code",
    "```",
    "python",
    "sql",
    "translate",
    "summar",
    "write",
    "explain",
    "how many",
    "json",
    "_",
)

Floats = NDArray[np.float32]
WIDTH = 7 + len(_HINTS) + BUCKETS
"""How many numbers `measure` gives."""


def embedded_text(prompt: str) -> str:
    """The part of a prompt that is embedded."""
    return prompt[-EMBEDDED:]


def measure(prompt: str) -> Floats:
    """The features of a prompt: lengths, shares, hints at the task, and its words and word pairs in hashed buckets."""
    tail = prompt[-TAIL:]
    low = tail.lower()
    words = _WORD.findall(low)
    size = max(1, len(tail))
    found = np.zeros(WIDTH, dtype=np.float32)
    found[:7] = (
        np.log1p(len(prompt)),
        np.log1p(len(words)),
        tail.count("\n") / size * 50,
        sum(map(str.isdigit, tail)) / size * 10,
        min(2, len(_OPTION.findall(tail)) / 4),
        float("?" in tail),
        float(not tail.isascii()),
    )
    found[7 : 7 + len(_HINTS)] = [hint in low for hint in _HINTS]
    buckets = found[7 + len(_HINTS) :]
    for gram in (*words, *map(" ".join, pairwise(words))):
        digest = zlib.crc32(gram.encode())
        buckets[digest % BUCKETS] += 1.0 if digest & 0x80000000 else -1.0
    norm = float(np.linalg.norm(buckets))
    if norm:
        buckets *= 3.0 / norm
    return found
