"""The ledger held against what the engines counted, after requests that went every other way than straight."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime

import httpx

from tests.e2e.test_answers import ledger
from tests.e2e.test_command import command

__all__ = ["command"]

QUESTION = "What is a headrace?"
UNSURE = json.dumps({"tokens": ["a ", "guess"], "logprob": -2.0})
FAILS = json.dumps({"tokens": ["lost"], "fail_after": 0})
SLOW = json.dumps({"tokens": 10_000, "tokens_per_s": 50})


class Asking:
    """Requests of one team, by what became of them."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def answered(self, model: str, content: str) -> tuple[str, dict]:
        """What the cache said, and what was told of the answer."""
        answer = self._client.post("/v1/chat/completions", json=_body(model, content, 12))
        assert answer.status_code == 200, answer.text
        return answer.headers.get("x-headrace-cache", ""), answer.json()["headrace"]

    def left(self, model: str, content: str) -> str:
        """The trace of a stream whose reader goes after the first piece."""
        body = _body(model, content, 200) | {"stream": True}
        with self._client.stream("POST", "/v1/chat/completions", json=body) as stream:
            next(line for line in stream.iter_lines() if line.startswith("data: "))
            return stream.headers["x-headrace-trace-id"]


def _body(model: str, content: str, max_tokens: int) -> dict:
    messages = [{"role": "user", "content": content}]
    return {"model": model, "messages": messages, "max_tokens": max_tokens, "temperature": 0}


async def test_the_ledger_agrees_with_the_engines_after_cancels_cascades_fallbacks_and_hits(command, world):
    started, key = datetime.now(UTC).isoformat(), await world.key("accounted")
    with httpx.Client(base_url=world.url, headers={"authorization": f"Bearer {key}"}, timeout=120) as client:
        asking = Asking(client)
        _, escalated = asking.answered("unsure", UNSURE)
        _, fell_back = asking.answered("falls-back", FAILS)
        remembered = [asking.answered("remembering", QUESTION)]
        deadline = time.monotonic() + 60
        while remembered[-1][0] != "hit":  # the cache is written beside the request
            assert time.monotonic() < deadline, remembered[-1]
            remembered.append(asking.answered("remembering", QUESTION))
        left = [asking.left("scripted", SLOW), asking.left("small", QUESTION)]
    assert [stage["verdict"] for stage in escalated["stages"]] == ["rejected", "accepted"]
    assert [(stage["deployment"], stage["verdict"]) for stage in fell_back["stages"]] == [
        ("scripted", "failed"),
        ("small", "accepted"),
    ]
    # Each request's rows come to what its answer said that it cost.
    told = [escalated, fell_back, *(outcome for _, outcome in remembered)]
    rows = [await ledger(world, outcome["trace_id"]) for outcome in told]
    for outcome, of in zip(told, rows, strict=True):
        assert sum(row["cost_nano_usd"] for row in of) == round(float(outcome["cost_usd"]) * 1e9), outcome
    [hit] = rows[-1]
    assert (hit["cache"], hit["cost_nano_usd"], hit["output_tokens"]) == ("hit", 0, 0)
    assert hit["saved_nano_usd"] > 0
    # A stream whose reader goes is billed for what was made until it was stopped.
    cut = [await ledger(world, trace_id) for trace_id in left]
    for [row] in cut:
        assert row["error_code"] == "client_closed_request"
        assert 0 < row["output_tokens"] < 200 and row["cost_nano_usd"] > 0

    every = [row for of in (*rows, *cut) for row in of]
    found = await asyncio.to_thread(reconciled, command, started)
    assert (found["attempts"], found["differences"]) == (len(every), [])
    hits = sum(row["cache"] == "hit" for row in every)
    vectors = sum(row["deployment"] == "minilm" for row in every)
    held = {"unused": hits, "not_counted": vectors, "same": len(every) - hits - vectors}
    assert {name: often for name, often in found["counts"].items() if often} == held


def reconciled(command, started: str) -> dict:
    """What the command says; it ends with 1 where something differs."""
    return json.loads(command("costs", "reconcile", "--from", started, "--tenant", "accounted", "--json"))


def test_the_command_looks_ahead_and_back(command):
    assert "month's end" in command("costs", "forecast")
    assert "no hour stands out" in command("costs", "anomalies")
