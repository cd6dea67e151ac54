"""`headrace retrieval indexes|reindex`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from headrace.cli import retrieval_indexes
from headrace.cli.app import app


@pytest.fixture
def run(fake, monkeypatch):
    """Run `headrace retrieval ...`; the exit code must be as told."""
    monkeypatch.setattr(retrieval_indexes, "_LOOK_S", 0.0)

    def call(*words, code: int = 0):
        result = CliRunner().invoke(app, ["--url", fake.url, "--api-key", "hr_team", "retrieval", *words])
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    return call


def test_index_versions_are_a_table(run, fake):
    fake.building = 1
    lines = run("indexes", "handbook").stdout.splitlines()
    assert lines[1].split()[:4] == ["active", "minilm", "200", "20"]
    assert lines[2].split()[:7] == ["building", "e5", "100", "20", "3", "of", "4"]
    assert len(json.loads(run("indexes", "handbook", "--json").stdout)) == 1


def test_reindexing_says_what_it_was_told_and_how_it_went(run, fake):
    out = run("reindex", "handbook", "--embedding", "e5", "--max-tokens", "100").stdout
    assert "handbook has its new index version: " in out
    (asked,) = [seen for seen in fake.seen if seen.method == "POST"]
    assert asked.body == {"again": False, "embedding": "e5", "max_tokens": 100}
    fake.seen.clear()
    assert "it is being built" in run("reindex", "handbook", "--again", "--no-wait").stdout
    assert [seen.body for seen in fake.seen] == [{"again": True}]
    assert "given up" in run("reindex", "handbook", "--cancel").stdout
    assert fake.seen[-1].method == "DELETE"


def test_a_version_that_lacks_documents_is_told(run, fake):
    fake.building = 99
    fake.answers = []
    failed = run("reindex", "handbook", "--embedding", "e5", code=1)
    assert "cannot be put into it" in failed.output and "headrace retrieval failed handbook" in failed.output
