"""Traces as items of a dataset."""

from __future__ import annotations

import json
from contextlib import nullcontext

from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.cli.traces_export import item
from headrace.types.traces import Feedback, Trace, TraceContent, TracePage, TraceSummary, Turn


def trace(number: int, *, score: float | None = None, correction: str = "", capture: str = "redacted") -> Trace:
    said = [Feedback("f", correction=correction)] if correction else []
    content = TraceContent(capture, [Turn("user", f"question {number}")], [Turn("assistant", "the answer")])
    summary = TraceSummary(f"{number:032x}", model="assistant", feedback=score)
    return Trace(
        f"{number:032x}", feedback=said, summary=summary, content=content if capture != "off" else TraceContent()
    )


def test_what_is_expected_is_the_correction_or_an_answer_that_was_liked():
    assert "expected" not in item(trace(1)) and "expected" not in item(trace(1, score=-1))
    assert item(trace(1, score=0.5))["expected"] == "the answer"
    assert item(trace(1, score=0.5, correction="better"))["expected"] == "better"
    assert item(trace(1, capture="off")) is None
    made = item(trace(7, score=0.5))
    assert made["id"] == f"{7:032x}" and made["input"] == [{"role": "user", "content": "question 7"}]
    assert made["metadata"] == {"model": "assistant", "feedback": 0.5}


class Client:
    """Three traces, two a page."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.saved: list[str] = []
        self.kept = {found.trace_id: found for found in (trace(1), trace(2, capture="off"), trace(3, score=1))}

    def traces(self, **asked) -> TracePage:
        self.asked.append(asked)
        ids = list(self.kept)
        page = ids[2:] if asked["page_token"] else ids[:2]
        return TracePage([self.kept[id_].summary for id_ in page], "" if asked["page_token"] else "next")

    def trace(self, trace_id: str) -> Trace:
        return self.kept[trace_id]

    def keep_trace(self, trace_id: str) -> None:
        self.saved.append(trace_id)


def test_all_pages_are_written_and_a_file_is_never_replaced(tmp_path, monkeypatch):
    client = Client()
    monkeypatch.setattr("headrace.cli.traces_export.connect", lambda ctx: nullcontext(client))
    file = tmp_path / "set.jsonl"
    command = ["traces", "export", "--dataset", str(file), "--min-feedback", "0.5", "--where", "model=small"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "1 traces left out" in done.output
    assert [json.loads(line)["input"][0]["content"] for line in file.read_text().splitlines()] == [
        "question 1", "question 3",
    ]  # fmt: skip
    assert len(client.saved) == 2, "what is in a dataset keeps its spans"
    assert client.asked[0] == {"limit": 200, "page_token": None, "min_feedback": 0.5, "model": "small"}
    before = file.read_text()
    assert CliRunner().invoke(app, command).exit_code == 2
    assert file.read_text() == before
