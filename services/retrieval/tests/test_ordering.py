"""Newer before older, and nothing twice."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headrace_retrieval.domain.ordering import UNDATED, Candidate, Freshness, varied

NOW = datetime(2026, 6, 30, tzinfo=UTC)
SAME = "the lock keeper opens the gate at seven"
CANDIDATES = [
    Candidate("a", 1.0, SAME),
    Candidate("b", 0.95, SAME + " sharp"),
    Candidate("c", 0.6, "boats pay two coins a ton"),
    Candidate("d", 0.1, "no dogs"),
]


@pytest.mark.parametrize(
    ("diversity", "order"),
    [(0.0, ["a", "b", "c"]), (0.4, ["a", "c", "b"]), (1.0, ["a", "c", "d"])],
    ids=["none", "some", "all"],
)
def test_what_a_better_one_says_goes_back(diversity, order):
    assert [item for item, _ in varied(CANDIDATES, diversity, 3)] == order


def test_all_of_them_can_be_wanted_and_more():
    assert len(varied(CANDIDATES, 0.5, 10)) == 4
    assert varied([], 0.5, 10) == []


def test_texts_without_words_are_like_nothing():
    found = varied([Candidate("a", 1.0, "..."), Candidate("b", 0.9, "...")], 0.5, 2)
    assert [item for item, _ in found] == ["a", "b"]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("2026-06-30", 1.0),
        ("2026-06-20", 0.5),
        ("2026-06-10T00:00:00Z", 0.25),
        ("2026-06-20T02:00:00+02:00", 0.5),
        ("2030-01-01", 1.0),
        ("last year", UNDATED),
        (2026, UNDATED),
        (None, UNDATED),
    ],
    ids=["today", "a half-life", "two", "a zone", "to come", "no date", "a number", "nothing"],
)
def test_a_score_halves_with_age(said, kept):
    assert Freshness("day", 10 * 86_400).factor({"day": said}, NOW) == pytest.approx(kept)
