"""Requests run again from what their traces kept, by the `headrace` command on the real platform."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.e2e.test_answers import ingest
from tests.e2e.test_command import command

__all__ = ["command"]

ADDRESS = "ana.silva@example.org"
MILL = "# Mill\n\nThe mill was built in 1874 and has two wheels.\n"
TEXT = f"When was the mill built, and by whom? Write to {ADDRESS}."


async def asked(world, tenant: str, *scopes: str) -> tuple[str, str]:
    """A key of a team, and the trace of a question to a cascade, grounded in a document and masked by a policy."""
    key, collection = await world.key(tenant, *scopes), f"mills-of-{tenant}"
    async with world.http(key) as client:
        made = await client.post("/v1/collections", json={"name": collection, "acl": "none"})
        assert made.status_code in (201, 409), made.text
        stored = await ingest(world, [{"id": "mill.md", "text": MILL}], collection, key)
        assert stored.status_code in (200, 202), stored.text
        body = {
            "model": "choosy",
            "messages": [{"role": "user", "content": TEXT}],
            "temperature": 0,
            "max_tokens": 16,
            "headrace": {"collections": [collection], "guardrails": "standard"},
        }
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        return key, answer.json()["headrace"]["trace_id"]


@pytest.fixture
def replayed(command, monkeypatch):
    """Replay a trace with a key; what the command told as JSON."""

    async def run(key: str, trace_id: str, *options: str) -> dict:
        monkeypatch.setenv("HEADRACE_API_KEY", key)
        monkeypatch.setenv("HEADRACE_ADMIN_KEY", key)
        await asyncio.to_thread(command, "traces", "show", trace_id)  # it waits until the trace has arrived
        return json.loads(await asyncio.to_thread(command, "traces", "replay", trace_id, *options, "--json"))

    return run


async def test_what_was_kept_in_full_is_reproduced_exactly(world, replayed):
    key, trace_id = await asked(world, "kept", "admin")
    again = await replayed(key, trace_id, "--full", "--strict")
    assert again["exact"] and again["reproduced"]
    assert again["replay_trace_id"] != trace_id
    stages = {stage["name"]: stage for stage in again["stages"]}
    assert stages["guard findings in"]["before"] == "pii.email mask x1"
    assert stages["passages"]["before"] == "1 passages"
    assert stages["attempts"]["before"] == "small rejected, large accepted"
    for name in ("config", "guard findings in", "passages", "attempts", "answer", "tokens", "cost"):
        assert stages[name]["result"] == "same", stages[name]
        assert stages[name]["before"] == stages[name]["after"] != ""
    # In full means to admins who ask for it; else the record shows none of what was masked.
    async with world.http(key) as client:
        for full, shown in ((True, True), (False, False)):
            trace = (await client.get(f"/v1/traces/{trace_id}", params={"full": full})).text
            assert (ADDRESS in trace) is shown


async def test_what_was_redacted_says_what_its_record_lacks(world, replayed):
    key, trace_id = await asked(world, "dev", "admin")
    again = await replayed(key, trace_id)
    assert not again["exact"]
    assert again["missing"] == ["1 places in its texts were replaced before they were kept (personal data, secrets)"]
    # What was masked cannot be found again; what follows from the masked text is the same.
    results = {stage["name"]: stage["result"] for stage in again["stages"]}
    assert results["guard findings in"] == "differs"
    assert results["passages"] == results["attempts"] == "same"


async def test_an_admin_of_another_team_replays_as_the_team_whose_trace_it_is(world, replayed):
    _, trace_id = await asked(world, "kept")
    admin = world.env["HEADRACE_ADMIN_KEY"]
    again = await replayed(admin, trace_id, "--full", "--strict")
    assert again["exact"] and again["reproduced"]
    again = await replayed(admin, trace_id, "--full", "--against", "large")
    stages = {stage["name"]: stage for stage in again["stages"]}
    assert stages["passages"]["result"] == "same" and stages["passages"]["after"] == "1 passages"
    assert stages["attempts"]["after"] == "large"
    async with world.http(admin) as client:
        summary = (await client.get(f"/v1/traces/{again['replay_trace_id']}")).json()["summary"]
    assert summary["tenant"] == "kept"
