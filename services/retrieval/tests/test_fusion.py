"""Reciprocal rank fusion."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace_retrieval.domain.fusion import fuse

_rankings = st.lists(st.lists(st.integers(0, 20), unique=True, max_size=10), max_size=4)


def test_agreement_beats_a_single_first_rank():
    assert fuse([["a", "b", "c"], ["d", "b", "e"]])[0][0] == "b"
    assert fuse([["a"]]) == [("a", 1 / 61)]
    assert fuse([]) == []


@given(_rankings)
def test_everything_is_there_once_best_first(rankings):
    fused = fuse(rankings)
    assert {item for item, _ in fused} == {item for ranking in rankings for item in ranking}
    assert len({item for item, _ in fused}) == len(fused)
    assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)


@given(_rankings)
def test_who_is_better_in_every_ranking_is_better_in_the_end(rankings):
    order = [item for item, _ in fuse(rankings)]
    for first in order:
        for second in order:
            ahead = [
                first in ranking and (second not in ranking or ranking.index(first) < ranking.index(second))
                for ranking in rankings
                if first in ranking or second in ranking
            ]
            if all(ahead) and first != second:
                assert order.index(first) < order.index(second)
