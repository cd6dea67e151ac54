"""Judged queries, measures of rankings, and the comparison of stages and runs."""

from __future__ import annotations

import json
import math

import pytest

from headrace_evals.ranking import judged as sets
from headrace_evals.ranking import stages
from headrace_evals.ranking.measures import compare, documents_of, mean, score
from headrace_evals.ranking.plot import intervals

JUDGED = sets.keep("two", {"q1": "water", "q2": "leave"}, {"q1": {"a": 2, "b": 1, "c": 0}, "q2": {"d": 1}})


def test_measures_are_those_of_their_definitions():
    found = score(JUDGED, {"q1": ["b", "x", "a"], "q2": ["x", "d"]})
    ideal = 2 + 1 / math.log2(3)
    assert found["nDCG@10"] == (pytest.approx((1 + 2 / math.log2(4)) / ideal), pytest.approx(1 / math.log2(3)))
    assert found["R@10"] == (1.0, 1.0)
    assert found["RR@10"] == (1.0, 0.5)


def test_a_query_without_an_answer_scores_nothing_and_stays_in_the_mean():
    found = score(JUDGED, {"q1": ["a", "b"]})
    assert found["nDCG@10"] == (1.0, 0.0)
    assert mean(found["nDCG@10"]).value == 0.5


def test_only_the_queries_that_are_asked_count():
    fewer = sets.Judged("one", {"q2": "leave"}, JUDGED.grades)
    assert score(fewer, {"q2": ["d"]})["nDCG@10"] == (1.0,)


def test_a_document_counts_where_its_first_passage_is():
    assert documents_of(["a", "b", "a", "c", "b"]) == ["a", "b", "c"]


def test_differences_on_the_same_queries_are_told_from_chance():
    before = [0.1 * (number % 7) for number in range(60)]
    better = [value + 0.05 + 0.01 * (number % 3) for number, value in enumerate(before)]
    found = compare(before, better)
    assert found.p < 0.001 and found.low > 0.04
    mixed = [value + (0.05 if number % 2 else -0.05) for number, value in enumerate(before)]
    assert compare(before, mixed).p > 0.5
    assert compare(before, before) == (0.0, 0.0, 0.0, 1.0)


def test_forms_of_data_sets(tmp_path):
    table = tmp_path / "questions.csv"
    table.write_text("\ufeffquestion,document\nHow many days?,leave\nHow many days?,rules\nWater?,guide\n", "utf-8")
    found = sets.read(table)
    assert found.grades == {"How many days?": {"leave": 1, "rules": 1}, "Water?": {"guide": 1}}

    beir = tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    (beir / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": id, "text": text}) + "\n" for id, text in (("1", "one"), ("2", "two"))), "utf-8"
    )
    (beir / "corpus.jsonl").write_text(json.dumps({"_id": "d", "title": "T", "text": "body"}) + "\n", "utf-8")
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\td\t2\n2\td\t0\n", "utf-8")
    found = sets.read(beir)
    assert (found.queries, found.grades) == ({"1": "one"}, {"1": {"d": 2}}), (
        "a query without a relevant one is left out"
    )
    assert found.documents == (sets.Text("d", "T", "body"),)

    trec = tmp_path / "trec"
    trec.mkdir()
    (trec / "queries.tsv").write_text("7\twater\n", "utf-8")
    (trec / "qrels.txt").write_text("7 0 d1 1\n7 0 d2 0\n", "utf-8")
    assert sets.read(trec).grades == {"7": {"d1": 1, "d2": 0}}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "text\nx\n", "column document"),
        ("b.csv", "question,document,relevance\nx,d,many\n", "cannot be read"),
        ("c.csv", "question,document,relevance\nx,d,0\n", "no query has a relevant document"),
    ],
    ids=["column", "grade", "empty"],
)
def test_what_is_no_data_set_says_why(tmp_path, name, content, told):
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(sets.JudgedInvalid, match=told):
        sets.read(tmp_path / name)
    with pytest.raises(sets.JudgedInvalid, match="no such file"):
        sets.read(tmp_path / "missing")


class Known:
    """Answers by stage."""

    def __init__(self, **by_stage) -> None:
        self._by_stage = by_stage

    async def search(self, stage, query, depth):
        return self._by_stage[stage][query][:depth]


async def test_stages_are_measured_and_compared_with_their_parents_and_with_another_run(tmp_path):
    good, bad = {"water": ["a", "a", "b"], "leave": ["d"]}, {"water": ["c", "b"], "leave": ["x"]}
    done = []
    run = await stages.measure(JUDGED, Known(bm25=bad, fused=good), ("bm25", "fused"), "new", done.append)
    assert done == [1, 2, 3, 4]
    assert {row.stage: row.means["nDCG@10"].value for row in stages.rows(run)}["fused"] == 1.0
    assert [(one.before, one.after) for one in stages.against_parents(run)] == [("bm25", "fused")]

    stages.write(tmp_path / "run.json", run)
    kept = stages.read(tmp_path / "run.json")
    assert kept == run
    assert [one.difference.value for one in stages.against(kept, run)] == [0.0, 0.0]
    with pytest.raises(stages.NotComparable):
        stages.against(stages.Run("two", "old", ["q1"], kept.scores), run)
    drawn = intervals("two", [("new <fused>", mean(run.scores["fused"]["nDCG@10"]))])
    assert drawn.startswith("<svg") and "&lt;fused&gt;" in drawn
