"""Requests run again from their traces."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.replaying.compare import reproduced, stages
from headrace.replaying.rebuild import CannotReplay, rebuild
from headrace.types.chat import ChatCompletion, Outcome
from headrace.types.traces import (
    Trace,
    TraceContent,
    TraceDecision,
    TraceFinding,
    TracePage,
    TracePassage,
    TraceSpan,
    TraceSummary,
    Turn,
)

PASSAGE = TracePassage(1, "handbook", "leave.md", "c1", text="27 days", start=0, end=7)


def trace(number: int = 1, answer: str = "27 days [1]", capture: str = "redacted", **changes) -> Trace:
    options = changes.pop("options", {"operation": "chat", "sampling": {"temperature": 0, "max_tokens": 24}})
    turns = changes.pop("turns", [Turn("user", "How many days?")])
    passages = changes.pop("passages", [PASSAGE])
    content = TraceContent(capture, turns, [Turn("assistant", answer)], passages, json.dumps(options))
    return Trace(
        f"{number:032x}",
        spans=[TraceSpan("a", attributes={"headrace.config_hash": "h1"})],
        summary=TraceSummary(f"{number:032x}", model="assistant"),
        content=content,
        decisions=changes.pop("decisions", [TraceDecision(deployment="small", verdict="accepted")]),
        **changes,
    )


def test_a_request_is_made_again_with_all_that_it_asked_for():
    tools = [{"name": "look", "parameters_json": '{"type": "object"}', "strict": True}]
    sampling = {
        "temperature": 0,
        "seed": "7",
        "stop": ["."],
        "tools": tools,
        "response_format": {"type": "json_schema", "name": "a", "schema_json": '{"type": "object"}'},
    }
    options = {"operation": "response", "sampling": sampling, "collections": ["handbook"], "guardrails": "strict"}
    call = [{"type": "tool_call", "id": "x", "name": "look", "arguments": "{}"}]
    turns = [Turn("user", "look"), Turn("assistant", "", json.dumps(call))]
    made = rebuild(trace(options=options, turns=turns))
    assert made.messages[0] == {"role": "user", "content": "look"}
    assert made.messages[1]["tool_calls"][0]["function"] == {"name": "look", "arguments": "{}"}
    assert made.options["seed"] == 7
    assert made.options["tools"][0]["function"]["parameters"] == {"type": "object"}
    assert made.options["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert (made.options["collections"], made.options["guardrails"]) == (["handbook"], "strict")
    assert (made.options["model"], made.options["cache"]) == ("assistant", "bypass")
    assert made.exact


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"turns": [Turn("user", "write to [EMAIL_kqzmtpwa]")]}, "replaced"),
        ({"turns": [Turn("user", "long…")]}, "was cut"),
        ({"options": {"sampling": {"temperature": 0, "top_k": 3}}}, "top_k"),
    ],
    ids=["redacted", "cut", "option"],
)
def test_what_the_record_lacks_is_said(changes, part):
    made = rebuild(trace(**changes))
    assert part in made.missing[0]
    assert not made.exact


def test_a_request_that_left_it_to_chance_may_differ():
    assert "temperature" in rebuild(trace(options={"sampling": {"temperature": 0.7}})).random
    assert not rebuild(trace(options={"sampling": {"temperature": 0.7, "seed": "1"}})).random


@pytest.mark.parametrize(
    ("made", "part"),
    [
        (trace(capture="off"), "was not kept"),
        (trace(options={"operation": "completion"}), "chats and responses"),
        (trace(turns=[Turn("user", "see", '[{"type": "audio"}]')]), "audio"),
    ],
    ids=["no content", "a completion", "audio"],
)
def test_what_cannot_be_replayed_says_why(made, part):
    with pytest.raises(CannotReplay, match=part):
        rebuild(made)


def test_the_same_run_is_reproduced_and_each_difference_is_in_its_stage():
    assert reproduced(stages(trace(1), trace(2)))
    moved = TracePassage(1, "handbook", "leave.md", "c9", text="30 days", start=0, end=7)
    found = {
        one.name: one
        for one in stages(
            trace(1),
            trace(
                2,
                answer="30 days [1]",
                passages=[moved],
                decisions=[TraceDecision(deployment="large", verdict="accepted")],
                findings=[TraceFinding("input", "pii", "email", "mask", 1)],
            ),
        )
    }
    differing = {name for name, one in found.items() if one.result == "differs"}
    assert differing == {"passages", "attempts", "answer", "guard findings in"}
    assert "its text has changed" in found["passages"].details[0]
    assert found["answer"].details[1:] == ["- 27", "+ 30"]
    assert not reproduced(list(found.values()))


def test_content_that_one_side_lacks_is_unknown_and_not_the_same():
    found = stages(trace(1), trace(2, capture="off"))
    assert {one.name: one.result for one in found}["answer"] == "unknown"
    assert not reproduced(found)


class Client:
    """Two traces that can be replayed and one that cannot; new runs answer as they are told."""

    def __init__(self, answer: str = "27 days [1]") -> None:
        self.kept = {one.trace_id: one for one in (trace(1), trace(2, capture="off"), trace(3))}
        self.answer = answer
        self.asked: list[dict] = []
        self.said: list[list[dict]] = []

    def traces(self, **asked) -> TracePage:
        assert asked["model"] == "assistant"
        return TracePage([one.summary for one in self.kept.values()][: asked["limit"]], "")

    def trace(self, trace_id: str, full: bool = False) -> Trace:
        return self.kept[trace_id]

    def chat(self, messages, **options) -> ChatCompletion:
        self.asked.append(options)
        self.said.append(messages)
        new = trace(100 + len(self.asked), answer=self.answer)
        self.kept[new.trace_id] = new
        return ChatCompletion("r", [], headrace=Outcome(trace_id=new.trace_id))


def run(monkeypatch, client, *words):
    monkeypatch.setattr("headrace.cli.traces_replay.connect", lambda ctx, admin: nullcontext(client))
    return CliRunner().invoke(app, ["traces", "replay", *words])


def test_one_trace_side_by_side(monkeypatch):
    done = run(monkeypatch, Client(), f"{1:032x}", "--strict")
    assert done.exit_code == 0, done.output
    assert "reproduced" in done.output
    other = run(monkeypatch, Client("30 days"), f"{1:032x}", "--strict")
    assert other.exit_code == 1
    assert "not reproduced" in other.output
    assert "+ 30" in other.output


def test_what_the_new_run_kept_masked_is_compared_masked(monkeypatch):
    class Whole(Client):
        """The first trace was kept in full, by another team than the one whose key replays it."""

        def trace(self, trace_id: str, full: bool = False) -> Trace:
            if full and trace_id == f"{1:032x}":
                return trace(1, "Write to ana@example.org", "full", turns=[Turn("user", "Ask ana@example.org.")])
            return self.kept[trace_id]

    client = Whole("Write to [EMAIL_kqzmtpwa]")
    client.kept[f"{1:032x}"] = trace(1, "Write to [EMAIL_kqzmtpwa]")
    done = run(monkeypatch, client, f"{1:032x}", "--full", "--strict")
    assert done.exit_code == 0, done.output
    assert client.said == [[{"role": "user", "content": "Ask ana@example.org."}]], "it was asked as it was sent"


def test_many_traces_with_a_summary(monkeypatch):
    client = Client()
    done = run(monkeypatch, client, "--where", "model=assistant", "--against", "large", "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.output)["summary"]
    assert (summary["asked"], summary["replayed"], summary["reproduced"]) == (3, 2, 2)
    assert len(summary["not_replayed"]) == 1
    assert [asked["route"] for asked in client.asked] == ["large", "large"]


def test_bad_input_is_refused(monkeypatch):
    assert run(monkeypatch, Client()).exit_code == 2
    assert run(monkeypatch, Client(), "--where", "model").exit_code == 2
