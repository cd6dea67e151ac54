"""Rankings by scores into one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_retrieval.domain.fusion import Ranking, fuse


@st.composite
def _ranking(draw) -> Ranking[int]:
    items = draw(st.lists(st.integers(0, 20), unique=True, max_size=10))
    scores = sorted(draw(st.lists(st.floats(-1, 30), min_size=len(items), max_size=len(items))), reverse=True)
    return Ranking(list(zip(items, scores, strict=True)), draw(st.floats(-0.5, 0.5)))


_rankings = st.lists(_ranking(), max_size=4)


def test_a_score_counts_as_its_share_of_the_best_above_zero():
    words = Ranking([("a", 8.0), ("b", 6.0), ("c", 1.0)])
    vectors = Ranking([("b", 0.6), ("d", 0.5), ("a", 0.2)], zero=0.2)
    assert fuse([words, vectors]) == [
        ("b", pytest.approx(0.375 + 0.5)),
        ("a", pytest.approx(0.5)),
        ("d", pytest.approx(0.375)),
        ("c", pytest.approx(0.0625)),
    ]
    assert fuse([]) == []


def test_the_scale_of_a_models_similarities_changes_nothing():
    words = Ranking([("a", 8.0), ("b", 7.0), ("c", 6.9)])
    wide = Ranking([("c", 0.9), ("b", 0.5), ("a", 0.1)], zero=0.1)
    narrow = Ranking([("c", 0.90), ("b", 0.85), ("a", 0.80)], zero=0.80)
    scores = dict(fuse([words, wide]))
    assert {item: pytest.approx(score) for item, score in fuse([words, narrow])} == scores


def test_without_a_score_above_zero_the_order_counts():
    assert [item for item, _ in fuse([Ranking([("a", -0.1), ("b", -0.2)])])] == ["a", "b"]


@given(_rankings)
def test_everything_is_there_once_best_first(rankings):
    fused = fuse(rankings)
    assert {item for item, _ in fused} == {item for ranking in rankings for item, _ in ranking.hits}
    assert len({item for item, _ in fused}) == len(fused)
    assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)


@given(_rankings)
def test_who_is_not_worse_in_any_ranking_scores_no_less(rankings):
    scores = dict(fuse(rankings))
    places = [{item: place for place, (item, _) in enumerate(ranking.hits)} for ranking in rankings]
    for first in scores:
        for second in scores:
            if all(second not in place or (first in place and place[first] <= place[second]) for place in places):
                assert scores[first] >= scores[second] - 1e-12
