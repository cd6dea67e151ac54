"""Orders hidden in data: each sentence of a passage, beside the rest of it.

Read as a whole, a passage with one strange sentence is still mostly the passage. So passages and what tools return are
also read sentence by sentence: what it says, how it is built, and how little it has to do with its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace_guardrails.injection.features import features

Floats = NDArray[np.float64]

MOST_SENTENCES = 96
_LEAST_CHARS, _MOST_CHARS = 24, 300
_END = re.compile(r"(?<=[.!?。！？])[\"')\]]*\s+|\s*\n\s*|\|")  # noqa: RUF001

_ANSWER = re.compile(
    r"\b(?:your|the|this|an?y?) (?:\w+ )?(?:answers?|response|reply|output|summary|solution|code|algorithm|translation"
    r"|implementation|message)\b|\b(?:respond|reply|answer)\b",
    re.I,
)
_READER = re.compile(
    r"\b(?:ai|assistants?|chatbots?|llms?|(?:language )?models?|gpt|copilot|agents?|bots?|automated|the user'?s?)\b",
    re.I,
)
_TASK = re.compile(
    r"^\W*(?:please |now |then |also |hey,? |can you |could you |would you |you (?:must|should|have to) )*"
    r"(?:write|explain|describe|tell|give|list|provide|suggest|compose|create|draft|translate|summari[sz]e|compare"
    r"|define|calculate|solve|recommend|outline|generate|add|include|insert|append|modify|incorporate|integrate|use|replace"
    r"|rewrite|remove|mention|introduce|ensure|embed|print|output|execute|run|call|send|ignore|show"
    r"|how (?:do|can|would)|what (?:is|are|was)|who (?:is|was|wrote)|which|why (?:is|do|does))\b",
    re.I,
)
_TOGETHER = re.compile(
    r"\b(?:add|include|insert|append|modify|incorporate|integrate|mention|embed|put|make|use|write)\b.{0,80}"
    r"\b(?:your|the) (?:\w+ )?(?:answer|response|reply|output|code|summary|solution)\b",
    re.I | re.S,
)

NAMES = (
    "likeness",
    "nearest",
    "first",
    "last",
    "alone",
    "length",
    "answer",
    "reader",
    "task",
    "answer_and_task",
    "into",
)


def sentences(text: str, most: int = MOST_SENTENCES) -> list[tuple[int, str]]:
    """A text's sentences, rows and cells with where they begin; short ones go with the next, long ones are cut.

    Of a text with more than `most`, some are taken, spread evenly.
    """
    found: list[tuple[int, str]] = []
    start = 0
    for end in (*(match.end() for match in _END.finditer(text)), len(text)):
        rest = end == len(text)
        if end - start < _LEAST_CHARS and not rest:
            continue
        while end - start > _MOST_CHARS:
            cut = text.rfind(" ", start + _LEAST_CHARS, start + _MOST_CHARS) + 1 or start + _MOST_CHARS
            found.append((start, text[start:cut]))
            start = cut
        found.append((start, text[start:end]))
        start = end
    kept = [(at, piece) for at, piece in found if piece.strip()]
    if len(kept) <= most:
        return kept
    return [kept[place] for place in np.linspace(0, len(kept) - 1, most).astype(int)]


def forms(pieces: Sequence[str], vectors: Floats) -> Floats:
    """The features of a passage's sentences, a row each: of their form, then `NAMES`.

    Args:
        pieces: all sentences of one passage, in order.
        vectors: their embeddings, of length 1.
    """
    like = vectors @ vectors.T
    np.fill_diagonal(like, -1.0)
    count = len(pieces)
    rest = vectors.sum(0) - vectors
    length = np.linalg.norm(rest, axis=1)
    # A sentence by itself is neither like nor unlike its neighbours.
    likeness = np.divide((rest * vectors).sum(1), length, out=np.full(count, 0.3), where=length > 0)
    nearest = like.max(1) if count > 1 else np.full(count, 0.4)
    rows = []
    for place, piece in enumerate(pieces):
        answer = _ANSWER.search(piece) is not None
        task = _TASK.match(piece) is not None
        rows.append(
            [
                *features(piece),
                float(likeness[place]),
                float(nearest[place]),
                float(place == 0),
                float(place == count - 1),
                float(count == 1),
                min(1.0, len(piece) / _MOST_CHARS),
                float(answer),
                float(_READER.search(piece) is not None),
                float(task),
                float(answer and task),
                float(_TOGETHER.search(piece) is not None),
            ]
        )
    return np.array(rows, float)
