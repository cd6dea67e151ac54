"""What a judge's verdicts come to, and how far its agreement with people may be off."""

from __future__ import annotations

import random

import pytest

from headrace_evals import comparing
from headrace_evals.agreement import Agreement, agreement
from headrace_evals.suite import Label, SuiteInvalid, read_labels


@pytest.mark.parametrize(
    ("text", "place"),
    [('{"better": "A"}', "A"), (' {"better":"tie"}\n', "TIE"), ("B", "B"), ('"b"', "B"), ("TIE.", "TIE")],
)
def test_verdicts_are_read(text, place):
    assert comparing.read(text) == place


@pytest.mark.parametrize("text", ["", "{", '{"better": "C"}', '{"worse": "A"}', "A is better", "[]", '{"better": 1}'])
def test_what_is_no_verdict_is_refused(text):
    with pytest.raises(comparing.NoVerdict):
        comparing.read(text)


@pytest.mark.parametrize(
    ("straight", "swapped", "second", "steady"),
    [
        ("A", "B", 0.0, True),
        ("B", "A", 1.0, True),
        ("TIE", "TIE", 0.5, True),
        ("A", "A", 0.5, False),
        ("B", "B", 0.5, False),
        ("A", "TIE", 0.5, True),
    ],
)
def test_verdicts_that_differ_when_places_are_swapped_are_a_tie(straight, swapped, second, steady):
    assert comparing.settle(straight, swapped) == comparing.Preference(second, steady)


def test_questions_are_each_others_mirror():
    one = comparing.questions("Which is right?", "q", "first", "second")
    assert one == comparing.questions("Which is right?", "q", "second", "first")[::-1]
    assert one[0].index("first") < one[0].index("second")


def test_what_people_and_a_judge_said_is_counted():
    labels = [Label("q", "x", "y", prefers) for prefers in ("a", "b", "a", "b", "tie", "tie", "a")]
    found = agreement(labels, [0.0, 1.0, 1.0, 0.5, 0.5, 1.0, None])
    assert found == Agreement(right=2, tie=1, wrong=2, ties_kept=1, ties_lost=1)
    assert found.gain == 0


def test_the_gain_lies_outside_its_interval_no_more_often_than_said():
    drawn, right, wrong, missed = random.Random(5), 0.7, 0.1, 0
    for _ in range(400):
        said = drawn.choices((1, 0, -1), (right, 1 - right - wrong, wrong), k=60)
        low, high = Agreement(said.count(1), said.count(0), said.count(-1)).between(0.1)
        missed += not low <= right - wrong <= high
    assert missed <= 0.1 * 400


def test_nothing_is_known_of_a_judge_without_labels():
    assert Agreement().between(0.05) == (-1.0, 1.0)
    assert Agreement(right=100).between(0.01)[0] > 0.85


def test_a_line_that_is_no_label_is_named(tmp_path):
    place = tmp_path / "labels.jsonl"
    place.write_text('{"input": "q", "a": "x", "b": "y", "prefers": "a"}\n\n{"input": "q"}\n')
    with pytest.raises(SuiteInvalid, match=r"labels.jsonl: line 3: .*`a`"):
        read_labels(place)
