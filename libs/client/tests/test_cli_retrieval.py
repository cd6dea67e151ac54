"""`headrace retrieval eval`: what it asks, prints, keeps and draws."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app


@pytest.fixture
def run(fake):
    """Run `headrace retrieval eval` on the collection handbook; the exit code must be as told."""

    def call(*words, code: int = 0):
        command = ["--url", fake.url, "--api-key", "hr_team", "retrieval", "eval", "--collection", "handbook"]
        result = CliRunner().invoke(app, [*command, *map(str, words)])
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    return call


@pytest.fixture
def questions(tmp_path):
    """A data set of two questions; the platform's answer to each is `leave.md`."""
    file = tmp_path / "questions.csv"
    file.write_text("question,document\nHow many days of leave?,leave.md\nWhere does the water go?,water.md\n", "utf-8")
    return file


def test_stages_are_measured_and_compared(run, questions, tmp_path):
    kept, drawn = tmp_path / "run.json", tmp_path / "run.svg"
    answer = json.loads(run(questions, "--out", kept, "--plot", drawn, "--json").stdout)
    (table,) = answer["runs"]
    assert table["queries"] == 2
    assert {row["stage"]: row["means"]["nDCG@10"]["value"] for row in table["stages"]} == dict.fromkeys(
        ("bm25", "vector", "fused", "reranked"), 0.5
    )
    assert [(one["before"], one["after"]) for one in answer["compared"]] == [
        ("bm25", "fused"),
        ("vector", "fused"),
        ("fused", "reranked"),
    ]
    assert "handbook fused" in drawn.read_text()
    lines = run(questions, "--against", kept, "--compare", "handbook", "--stage", "bm25").stdout
    assert "bm25 of handbook - bm25 of handbook" in lines and "2 queries" in lines


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--stage", "magic"], "no such stage: magic"),
        (["--ingest"], "brings no documents"),
        (["--against", "missing.json"], "missing.json"),
    ],
    ids=["stage", "ingest", "against"],
)
def test_what_cannot_be_measured_says_why(run, questions, more, told):
    assert told in run(questions, *more, code=1).output
