"""`headrace retrieval sources|sync`."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app


@pytest.fixture
def run(fake):
    """Run `headrace retrieval ...`; the exit code must be as told."""

    def call(*words, code: int = 0):
        result = CliRunner().invoke(app, ["--url", fake.url, "--api-key", "hr_team", "retrieval", *words])
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    return call


def test_one_source_is_synchronised_and_what_it_refused_is_named(run, fake):
    result = run("sync", "handbook", "policies")
    assert result.stdout.splitlines()[1].split()[:5] == ["policies", "folder", "done", "3", "2"]
    assert "refused policies/a.pdf: it is locked with a password" in result.output
    assert [seen.path.rsplit("/", 1)[1] for seen in fake.seen] == ["sync", "refusals"]
    assert fake.seen[0].query == {"wait": "true"}


def test_without_a_name_all_are_and_a_failure_is_one(run, fake):
    result = run("sync", "handbook", "--no-wait", code=1)
    assert "the sitemap is not XML" in result.stdout
    assert [seen.path.rsplit("/", 2)[1:] for seen in fake.seen[1:]] == [["policies", "sync"], ["site", "sync"]]
    assert fake.seen[1].query == {"wait": "false"}


def test_sources_are_a_table(run, fake):
    assert [line.split()[:2] for line in run("sources", "handbook").stdout.splitlines()[1:]] == [
        ["policies", "folder"], ["site", "web"]
    ]  # fmt: skip
    fake.answers.clear()
