"""The client and the `headrace` command against the real platform, as the README shows them."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from typer.testing import CliRunner

from headrace import AsyncHeadrace, AsyncHeadraceGrpc, Headrace, errors
from headrace.cli.app import app

TEXT = "# Boats\n\nThe ferry to the island leaves at 7 and takes 45 minutes.\n"
QUESTION = "When does the ferry to the island leave?"


@pytest.fixture
def command(world, monkeypatch, tmp_path):
    """Run a command against the shared platform in an empty folder."""
    for name, value in world.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, result.output
        return result.output

    return run


def test_a_document_is_cited_and_the_trace_is_one_tree(command, tmp_path):
    (tmp_path / "boats").mkdir()
    (tmp_path / "boats/ferry.md").write_text(TEXT)
    assert "1 document in handbook, searchable" in command("ingest", "handbook", "boats")
    found = json.loads(command("search", "handbook", QUESTION, "--json"))
    assert found[0]["document_id"] == "boats/ferry.md"
    # Greedy, by the model that answers with what is there: what a model makes up has no citation.
    asked = (
        "chat",
        "--collection",
        "handbook",
        "--model",
        "large",
        "--max-tokens",
        "24",
        "--temperature",
        "0",
        QUESTION,
    )
    *_, cited, last = [line for line in command(*asked).splitlines() if line.startswith(("[", "large on"))]
    assert cited.startswith("[") and last.startswith("large on large · ")
    trace_id = last.rpartition("trace ")[2]
    services: set[str] = set()
    deadline = time.monotonic() + 30
    lines = [""]
    while (
        not ({"gateway", "retrieval", "inference"} <= services and "$0.0" in lines[0]) and time.monotonic() < deadline
    ):
        lines = command("traces", "show", trace_id).splitlines()
        services = {line.strip("│├└─ ").split(" ")[0] for line in lines[1:]}
    assert {"gateway", "retrieval", "inference"} <= services
    assert lines[0].startswith(f"trace {trace_id}") and "$0.0" in lines[0]
    assert [line for line in lines[1:] if not line.startswith(" ")] == [lines[1]]


def test_the_command_says_what_is_wrong(command):
    assert "no model 'nobody'" in command("chat", "--model", "nobody", "hi", code=1)
    assert "ban_list" in command("chat", "tell me about project-bluebird", code=1)
    assert "there is no collection 'nowhere'" in command("search", "nowhere", "x", code=1)


def test_keys_come_and_go(command, world):
    made = json.loads(command("keys", "create", "dev", "for-a-test", "--json"))
    with Headrace(world.url, made["key"]) as headrace:
        assert "small" in {model.id for model in headrace.models()}
        command("keys", "revoke", made["id"])
        deadline = time.monotonic() + 10
        with pytest.raises(errors.AuthenticationFailed):
            while time.monotonic() < deadline:
                headrace.models()
                time.sleep(0.05)


async def test_http_and_grpc_give_the_same_answer(world):
    asked = {"model": "small", "max_tokens": 6, "temperature": 0.0}
    key = world.env["HEADRACE_API_KEY"]
    async with AsyncHeadrace(world.url, key) as http, AsyncHeadraceGrpc(world.env["HEADRACE_GRPC"], key) as grpc:
        one, other = await http.chat("Say hello.", **asked), await grpc.chat("Say hello.", **asked)
        assert one.text == other.text != ""
        assert one.usage.completion_tokens == other.usage.completion_tokens
        async with grpc.chat_stream("Say hello.", **asked) as stream:
            assert "".join([chunk.text async for chunk in stream]) == one.text
        assert stream.finish_reason == one.choices[0].finish_reason
        assert await http.models() == await grpc.models()
        for client in (http, grpc):
            with pytest.raises(errors.NotFound) as unknown:
                await client.chat("hi", model="nobody")
            assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")


def test_a_request_is_replayed_from_its_trace_and_comes_out_the_same(command, world, tmp_path):
    (tmp_path / "tower.md").write_text("# Tower\n\nThe tower has 313 steps and a bell.\n")
    command("ingest", "handbook", "tower.md")
    body = {
        "model": "small",
        "messages": [{"role": "user", "content": "How many steps has the tower?"}],
        "temperature": 0,
        "max_tokens": 12,
        "headrace": {"collections": ["handbook"]},
    }
    headers = {"authorization": f"Bearer {world.env['HEADRACE_API_KEY']}"}
    answer = httpx.post(f"{world.env['HEADRACE_URL']}/v1/chat/completions", json=body, headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    trace_id = answer.json()["headrace"]["trace_id"]
    command("traces", "show", trace_id)
    again = json.loads(command("traces", "replay", trace_id, "--strict", "--json"))
    assert again["exact"] and again["reproduced"]
    assert again["replay_trace_id"] != trace_id
    stages = {stage["name"]: stage for stage in again["stages"]}
    assert stages["passages"]["result"] == stages["answer"]["result"] == "same"
    assert stages["passages"]["before"] != "0 passages"
    # The document changes: the same request is grounded in something else, and the replay says where.
    (tmp_path / "tower.md").write_text("# Tower\n\nThe tower has 295 steps and a new bell.\n")
    command("ingest", "handbook", "tower.md")
    told = command("traces", "replay", trace_id)
    assert "not reproduced" in told
    assert "tower.md" in told
