"""`headrace guardrails` against a platform on loopback: what is sent, what is shown, and what ends with 1."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace_evals.datasets import read


@pytest.fixture
def run(fake, answers, monkeypatch, tmp_path):
    """Give answers one by one, run a command, and return what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_ADMIN_KEY", "hr_admin")

    def run(words: str, *given, code: int = 0) -> str:
        fake.answers += [answers[1](200, one) for one in given]
        called = ["--url", fake.url, "--api-key", "hr_team", "guardrails", *words.split()]
        done = CliRunner().invoke(app, called)
        assert done.exit_code == code, done.output
        assert fake.answers == []
        return done.output

    return run


def row(**more) -> dict:
    told = {"policy": "standard", "version": "v1@0", "direction": "input", "check": "pii", "kind": "email"}
    return {**told, "action": "mask", "shadow": False, "decisions": 3, **more}


def review(number: int, state: str, **more) -> dict:
    told = {"id": f"r{number}", "state": state, "policy": "standard", "direction": "input", "user": "ann"}
    return {**told, "created_at": "2026-11-29T06:00:00Z", "reason": "", **more}


def listed(*found) -> dict:
    return {"object": "list", "data": list(found)}


def test_a_report_tells_what_a_trial_would_have_done(run, fake):
    shown = run("report --policy standard", listed(row(), row(action="block", shadow=True)))
    assert [line.split()[-2:] for line in shown.splitlines()[1:]] == [["mask", "3"], ["block", "3"]]
    assert "would block" in shown and "would mask" not in shown
    assert fake.seen[-1].query["policy"] == "standard"
    assert "nothing was found" in run("report --shadow", listed())
    assert fake.seen[-1].query["shadow"] == "true"


def test_explain_names_each_check_of_the_direction(run):
    check = {"direction": "input", "check": "pii", "action": "mask", "tier": 1, "threshold": 0.5}
    policy = {"name": "standard", "version": "v1", "checks": [check, {**check, "direction": "output"}]}
    found = {"check": "pii", "kind": "email", "start": 0, "end": 6, "score": 1.0, "action": "mask"}
    shown = run("explain standard a@b.co", {"action": "mask", "text": "[EMAIL_1]", "findings": [found]}, listed(policy))
    assert shown.startswith("mask, by standard v1\n") and shown.count("pii") == 1
    assert "email 0-6 (1.00)" in shown


def test_eval_counts_by_source(run, tmp_path):
    items = [("attack", "a", "block"), ("attack", "a", "allow"), ("benign", "b", "flag")]
    lines = [
        {"id": str(number), "input": "x", "expected": kind, "metadata": {"source": source}}
        for number, (kind, source, _) in enumerate(items)
    ]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    verdicts = [{"action": action, "text": "", "findings": []} for *_, action in items]
    rows = json.loads(run("eval standard d.jsonl --json", *verdicts))
    assert [(one["kind"], one["source"], one["texts"], one["withheld"]) for one in rows] == [
        ("attack", "a", "2", "50.0%"),
        ("benign", "b", "1", "0.0%"),
    ]


def test_reviews_are_listed_shown_and_decided(run, fake):
    assert "r1" in run("reviews list --state open", listed(review(1, "open")))
    assert fake.seen[-1].query["state"] == "open"
    assert run("reviews show r1", {**review(1, "open"), "text": "the text"}) == "the text\n"
    assert run("reviews decide r1 --reject --reason no", review(1, "rejected")) == "rejected\n"
    assert (fake.seen[-1].path, fake.seen[-1].body) == ("/v1/guardrails/reviews/r1/reject", {"reason": "no"})


def test_what_was_withheld_is_fetched_once_it_is_approved(run, fake, answers):
    released = {"id": "r1", "policy": "standard", "direction": "output", "text": "the answer", "expires_at": ""}
    assert run("reviews fetch r1 --user ann", released) == "the answer\n"
    assert (fake.seen[-1].path, fake.seen[-1].headers["x-headrace-user"]) == ("/v1/guardrails/reviews/r1/text", "ann")
    pending = {"error": {"message": "nobody has decided yet", "type": "conflict_error", "code": "review_pending"}}
    fake.answers.append(answers[1](409, pending))
    assert "nobody has decided yet" in run("reviews fetch r1", code=1)
    assert "x-headrace-user" not in fake.seen[-1].headers


def test_decisions_become_a_dataset(run, tmp_path):
    bad = review(1, "rejected", reason="not ours")
    good, gone = review(2, "approved"), review(3, "approved")
    answers = [
        listed(bad),
        {**bad, "text": "tell me a secret"},
        listed(good, gone),
        {**good, "text": "grüß Gott"},
        gone,
    ]
    assert run("reviews export d.jsonl", *answers) == "2 texts written to d.jsonl; 1 were erased before\n"
    items = list(read(tmp_path / "d.jsonl"))
    assert [(one.id, one.input, one.expected) for one in items] == [
        ("r1", "tell me a secret", "attack"),
        ("r2", "grüß Gott", "benign"),
    ]
    assert items[0].metadata == {"source": "standard", "direction": "input", "reason": "not ours"}


def test_a_broken_chain_ends_with_1(run):
    whole = {"intact": True, "entries": 7, "head": "ab"}
    assert run("audit verify", whole) == "intact: 7 decisions, the last one's hash is ab\n"
    broken = {"intact": False, "entries": 7, "head": "", "broken_at": 4, "reason": "changed"}
    assert "broken at decision 4: changed" in run("audit verify", broken, code=1)
