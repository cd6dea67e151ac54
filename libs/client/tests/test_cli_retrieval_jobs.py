"""`headrace retrieval jobs|failed|retry|drop`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app


@pytest.fixture
def run(fake):
    """Run `headrace retrieval ...`; the exit code must be as told."""

    def call(*words, code: int = 0):
        command = ["--url", fake.url, "--api-key", "hr_team", "retrieval", *words]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    return call


def test_jobs_and_what_was_given_up_are_tables(run, fake):
    assert run("jobs", "handbook", "--state", "failed").stdout.splitlines()[1].split()[:6] == (
        ["j1", "ingest", "failed", "3", "of", "4"]
    )
    assert fake.seen[-1].query == {"state": "failed", "limit": "20"}
    lines = run("failed", "handbook", "--after", "16").stdout.splitlines()
    assert lines[1].split() == ["17", "leave.md", "5", "it", "is", "empty"]
    assert fake.seen[-1].query == {"limit": "100", "after": "16"}
    assert json.loads(run("failed", "handbook", "--json").stdout)[0]["reason"] == "it is empty"


@pytest.mark.parametrize("verb", ["retry", "drop"])
def test_dead_letters_are_retried_or_dropped_by_id_or_all(run, fake, verb):
    run(verb, "handbook", "17", "18")
    assert fake.seen[-1].body == {"ids": ["17", "18"]}
    run(verb, "handbook", "--all")
    assert fake.seen[-1].body == {"all": True}
    for wrong in ([], ["17", "--all"]):
        assert "name ids, or say --all" in run(verb, "handbook", *wrong, code=1).output
    assert len(fake.seen) == 2


async def test_the_client_reads_a_job_with_its_errors(fake):
    from headrace import AsyncHeadrace

    async with AsyncHeadrace(fake.url, "hr_team") as client:
        job = await client.job("handbook", "j1")
    assert [(error.document_id, error.message) for error in job.errors] == [("leave.md", "it is empty")]
