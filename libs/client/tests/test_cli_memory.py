"""`headrace memory` and `headrace erase`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.types import Fact, Said


@pytest.fixture
def run(fake):
    """Run `headrace ...`; the exit code must be as told."""

    def call(*words, code: int = 0, answer: str | None = None):
        command = ["--url", fake.url, "--api-key", "hr_team", *words]
        result = CliRunner().invoke(app, command, input=answer)
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    return call


def test_what_there_is_of_a_person_is_shown(run, fake):
    out = run("memory", "show", "ada", "--collection", "m").stdout
    assert "ada in memory: consented 2026-11-29" in out and "She drinks tea." in out and "trip/1" in out
    assert fake.seen[0].query == {"collection": "m"}
    assert json.loads(run("memory", "show", "ada", "--json").stdout)["facts"][0]["id"] == "tea"


def test_facts_come_and_go(run, fake):
    assert "may be kept" in run("memory", "consent", "ada").stdout
    assert fake.seen[-1].body == {"granted": True}
    assert "are erased" in run("memory", "consent", "ada", "--withdraw").stdout
    assert "kept as tea" in run("memory", "remember", "ada", "She drinks tea.", "--expires", "2027-01-31").stdout
    assert fake.seen[-1].body == {"facts": [{"text": "She drinks tea.", "expires_at": "2027-01-31"}]}
    assert fake.seen[-1].query == {"wait": "true"}
    assert run("memory", "recall", "ada", "tea?", "--top-k", "3").stdout.splitlines()[1].split()[:2] == ["0.500", "tea"]
    assert fake.seen[-1].body == {"query": "tea?", "top_k": 3, "rerank": True}
    run("memory", "forget", "ada", "tea")
    assert (fake.seen[-1].method, fake.seen[-1].path) == ("DELETE", "/v1/memory/ada/facts/tea")


def test_a_conversation_is_shown_as_a_model_is_told(run, fake):
    lines = run("memory", "conversation", "ada", "trip/1", "--max-tokens", "20").stdout.splitlines()
    assert lines == ["[turns 1 to 6] She goes to Porto.", "[2 turns do not fit]", "user: And back?"]
    assert fake.seen[-1].query == {"max_tokens": "20"}


def test_erasing_asks_first_and_fails_when_something_is_left(run, fake):
    assert "nothing was removed" in run("erase", "--user", "ada", code=1, answer="n\n").output
    assert fake.seen == []
    out = run("erase", "--user", "ada", answer="y\n").stdout
    assert [line.split()[-1] for line in out.splitlines() if line.startswith(("facts", "turns", "traces"))] == (
        ["1", "9", "4"]
    )
    fake.remains = 2
    assert "2 rows are still there" in run("erase", "--user", "ada", "--yes", code=1).output


async def test_the_client_keeps_turns_and_facts(fake):
    from headrace import AsyncHeadrace

    async with AsyncHeadrace(fake.url, "hr_team") as client:
        told = await client.append_turns("ada", "trip/1", [Said("user", "And back?")])
        assert (told.summary, told.turns[0].text) == ("She goes to Porto.", "And back?")
        assert fake.seen[-1].body == {"turns": [{"role": "user", "text": "And back?"}]}
        await client.remember("ada", ["Tea.", Fact("Trains.", metadata={"sure": True})], wait=False)
        assert fake.seen[-1].body == {"facts": [{"text": "Tea."}, {"text": "Trains.", "metadata": {"sure": True}}]}
        await client.delete_conversation("ada", "trip/1")
