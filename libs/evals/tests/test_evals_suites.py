"""Suites and datasets as files: what is read, and what is refused with its place."""

from __future__ import annotations

import pytest

from headrace_evals import datasets, suite
from headrace_evals.datasets import DatasetInvalid, Item
from headrace_evals.suite import SuiteInvalid

GOOD = """
model: assistant
dataset: golden.jsonl
graders: {right: {type: contains}}
thresholds: {right: {at_least: 80%, max_decrease: 5%}, latency_ms: {max_increase: 20%, of: p95}}
"""


@pytest.fixture
def folder(tmp_path):
    datasets.write(tmp_path / "golden.jsonl", [Item(f"q{n}", f"what is {n}?", str(n)) for n in range(20)])
    (tmp_path / "suite.yaml").write_text(GOOD)
    return tmp_path


def test_a_suite_is_read_with_its_dataset(folder):
    loaded = suite.load(folder / "suite.yaml")
    assert loaded.name == "suite"
    assert len(loaded.items) == 20
    assert loaded.items[3] == Item("q3", "what is 3?", "3")


def test_what_is_written_is_read_again(tmp_path):
    items = [Item("a", [{"role": "user", "content": "line\u2028break"}], metadata={"from": 1}), Item("b", "hi", "ho")]
    datasets.write(tmp_path / "d.jsonl", items)
    assert datasets.read(tmp_path / "d.jsonl") == items


def test_datasets_of_inspect_are_read():
    assert datasets.parse('{"id": 7, "input": "2+2?", "target": "4"}', "d") == [Item("7", "2+2?", "4")]


def test_a_limit_takes_the_same_items_each_time(folder):
    (folder / "suite.yaml").write_text(GOOD + "limit: 5\n")
    first, second = suite.load(folder / "suite.yaml"), suite.load(folder / "suite.yaml")
    assert len(first.items) == 5
    assert first.digest == second.digest
    (folder / "suite.yaml").write_text(GOOD + "limit: 6\n")
    assert {item.id for item in first.items} < {item.id for item in suite.load(folder / "suite.yaml").items}
    assert suite.load(folder / "suite.yaml").digest != first.digest


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "d.jsonl:2"),
        ("[]", "d.jsonl:2: an item is an object"),
        ('{"id": "x"}', "d.jsonl:2: Object missing required field `input`"),
        ('{"id": "q0", "input": "again"}', "'q0' is there twice"),
        ('{"id": "", "input": "x"}', "d.jsonl:2: `id` and `input` must not be empty"),
        ('{"id": "x", "input": [{"content": "hi"}]}', "`input[0]` has a `role`"),
        ('{"id": "x", "input": "y", "expected": 4}', "Expected `str"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, said):
    (tmp_path / "d.jsonl").write_text('{"id": "q0", "input": "hi"}\n' + line + "\n")
    with pytest.raises(DatasetInvalid) as caught:
        datasets.read(tmp_path / "d.jsonl")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("gradrs: {}", "unknown field `gradrs`"),
        ("dataset: none.jsonl", "none.jsonl: No such file"),
        ("dataset: ../golden.jsonl", "is not beside the suite"),
        ("graders: {right: {type: magic}}", "Invalid value 'magic'"),
        ("graders: {latency_ms: {type: exact}}", "choose another name"),
        ("thresholds: {wrong: {at_least: 1}}", "thresholds.wrong: there is no such metric; there are right"),
        ("thresholds: {right: {}}", "it demands nothing"),
        ("thresholds: {right: {max_increase: 5%}}", "more is better here; write max_decrease"),
        ("thresholds: {cost_usd: {max_decrease: 5%}}", "less is better here; write max_increase"),
        ("thresholds: {right: {at_least: five}}", "'five' is neither a number nor a share"),
        ("thresholds: {right: {at_least: 1, of: p95}}", "only quantities have quantiles"),
        ("graders: {alike: {type: similarity, model: m}}\nthresholds: {}", "which item 'q20' does not have"),
        ("repeat: 0", "repeat is from 1"),
        ("alpha: 60%", "alpha is above 0%"),
        ("items: [{input: hi}]", "one of dataset and items"),
        ("- a", "suite.yaml: it is not YAML"),
    ],
)
def test_a_broken_suite_is_refused_with_the_field(folder, change, said):
    if "similarity" in change:
        with (folder / "golden.jsonl").open("a") as file:
            file.write('{"id": "q20", "input": "no answer known"}\n')
    key = change.split(":")[0]
    kept = [line for line in GOOD.strip().split("\n") if not line.startswith(key + ":")]
    if "thresholds" in change:
        kept = [line for line in kept if not line.startswith("thresholds")]
    (folder / "suite.yaml").write_text("\n".join([*kept, change]) + "\n")
    with pytest.raises(SuiteInvalid) as caught:
        suite.load(folder / "suite.yaml")
    assert said in str(caught.value)
