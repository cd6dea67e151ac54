"""What stands around a passage: found by a small piece, read in its context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from headrace_retrieval.domain.model import Hit, Passage

MOST_PIECES = 40
"""Pieces on either side of a passage that are looked at."""

MOST_CHARS = 8000
"""A passage is not made longer than that: further pieces on the outside are left out."""


@dataclass(frozen=True, slots=True)
class Wider:
    """How much of what stands around a passage comes with it.

    Attributes:
        window: pieces on either side.
        section: as far as the headings above it are the same.
    """

    window: int = 0
    section: bool = False

    @property
    def pieces(self) -> int:
        """Pieces on either side that must be known."""
        return MOST_PIECES if self.section else min(self.window, MOST_PIECES)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a document, by its place in it."""

    ordinal: int
    start: int
    end: int
    headings: tuple[str, ...]


def span(pieces: Sequence[Piece], ordinal: int, wider: Wider) -> tuple[int, int]:
    """Where a passage begins and ends with what stands around it.

    Args:
        pieces: of one document, those around the passage and itself, in any order.
        ordinal: of the passage.
        wider: how far to go; window and section both hold where both are given.
    """
    by_place = {piece.ordinal: piece for piece in pieces}
    own = by_place[ordinal]
    start, end = own.start, own.end
    open_sides = [-1, 1]
    distance = 0
    while open_sides:
        distance += 1
        for side in tuple(open_sides):
            piece = by_place.get(ordinal + side * distance)
            fits = piece is not None and _belongs(piece, own, distance, wider)
            if piece is None or not fits or max(end, piece.end) - min(start, piece.start) > MOST_CHARS:
                open_sides.remove(side)
                continue
            start, end = min(start, piece.start), max(end, piece.end)
    return start, end


def _belongs(piece: Piece, own: Piece, distance: int, wider: Wider) -> bool:
    if wider.window and distance > wider.window:
        return False
    return not wider.section or piece.headings == own.headings


def widened(hits: Sequence[Hit], wide: Mapping[UUID, Passage]) -> tuple[Hit, ...]:
    """Hits with the wider passages, best first; one that lies within a better one is left out."""
    taken: list[Hit] = []
    for hit in hits:
        passage = wide.get(hit.passage.chunk_id, hit.passage)
        if not any(_within(passage, other.passage) for other in taken):
            taken.append(replace(hit, passage=passage))
    return tuple(taken)


def _within(one: Passage, other: Passage) -> bool:
    same = (one.collection_id, one.document_id) == (other.collection_id, other.document_id)
    return same and other.start <= one.start and one.end <= other.end
