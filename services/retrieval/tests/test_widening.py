"""How far a passage goes when what stands around it comes with it."""

from __future__ import annotations

from uuid import UUID

import pytest

from headrace_retrieval.domain.model import Hit, Passage
from headrace_retrieval.domain.widening import MOST_CHARS, Piece, Wider, span, widened

PIECES = [Piece(number, number * 90, number * 90 + 100, ("A",) if number < 3 else ("B",)) for number in range(6)]


@pytest.mark.parametrize(
    ("ordinal", "wider", "wanted"),
    [
        (1, Wider(window=1), (0, 280)),
        (0, Wider(window=1), (0, 190)),
        (5, Wider(window=2), (270, 550)),
        (2, Wider(section=True), (0, 280)),
        (3, Wider(section=True), (270, 550)),
        (3, Wider(window=1, section=True), (270, 460)),
        (2, Wider(window=40), (0, 550)),
    ],
    ids=["one", "at the beginning", "at the end", "section", "the other section", "both", "all"],
)
def test_it_goes_as_far_as_it_is_told(ordinal, wider, wanted):
    assert span(PIECES, ordinal, wider) == wanted


def test_a_headings_name_that_comes_again_is_another_section():
    pieces = [Piece(0, 0, 10, ("A",)), Piece(1, 10, 20, ("B",)), Piece(2, 20, 30, ("A",))]
    assert span(pieces, 0, Wider(section=True)) == (0, 10)


def test_it_stops_before_it_is_too_long():
    pieces = [Piece(number, number * 1000, number * 1000 + 1000, ()) for number in range(30)]
    start, end = span(pieces, 10, Wider(section=True))
    assert end - start == MOST_CHARS
    assert start <= 10_000 < end


def test_pieces_that_the_caller_may_not_read_are_an_end():
    assert span([PIECES[1], PIECES[2], PIECES[4]], 2, Wider(window=3)) == (90, 280)


def passage(number: int, document: str, start: int, end: int) -> Passage:
    return Passage(UUID(int=number), UUID(int=1), document, "", (), "x", start, end, None, {})


def test_what_lies_within_a_better_one_is_left_out():
    found = [passage(1, "d", 100, 200), passage(2, "d", 180, 260), passage(3, "e", 100, 200)]
    wide = {UUID(int=1): passage(1, "d", 0, 300), UUID(int=2): passage(2, "d", 100, 280)}
    hits = widened([Hit(one, "c", 1.0, {}) for one in found], wide)
    assert [(hit.passage.chunk_id.int, hit.passage.start) for hit in hits] == [(1, 0), (3, 100)]
