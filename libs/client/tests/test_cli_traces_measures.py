"""Requests summed up, side by side, and by conversation."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app

MEASURES = {
    "requests": 40,
    "errors": 1,
    "error_rate": 0.025,
    "input_tokens": 9000,
    "output_tokens": 800,
    "cost_usd": "0.0123",
    "duration_ms": {"p50": 812.4, "p95": 2410.0, "p99": 3000.0},
    "ttft_ms": {},
}


@pytest.fixture
def run(fake):
    """Run `headrace ...`; the exit code must be as told."""

    def call(*words, code: int = 0):
        result = CliRunner().invoke(app, ["--url", fake.url, "--api-key", "hr_team", *words])
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    return call


def test_sums_by_group_and_time(run, fake, answers):
    row = {"group": {"model": "assistant", "arm": ""}, "time": "2026-11-30T09:00:00Z", "measures": MEASURES}
    fake.answers.append(answers[1](200, {"object": "list", "data": [row], "more": True}))
    done = run("traces", "stats", "--group-by", "model,arm", "--bucket", "1h", "--where", "status=ok", "--limit", "1")
    assert (fake.seen[-1].path, fake.seen[-1].query) == (
        "/v1/analytics", {"group_by": "model,arm", "bucket_s": "3600", "limit": "1", "status": "ok"},
    )  # fmt: skip
    head, line = done.stdout.splitlines()
    assert head.split()[:4] == ["time", "model", "arm", "requests"]
    assert line.split()[:5] == ["2026-11-30T09:00", "assistant", "none", "40", "2.5%"] and "812/2410 ms" in line
    assert "there are more" in done.stderr
    fake.answers.append(answers[1](200, {"object": "list", "data": [row]}))
    found = json.loads(run("traces", "stats", "--json").stdout)
    assert found["data"][0]["measures"]["cost_usd"] == "0.0123"
    fake.answers.append(answers[1](200, {"object": "list", "data": []}))
    assert "no request in this time" in run("traces", "stats").stdout
    assert "no time such as" in run("traces", "stats", "--bucket", "week", code=2).output


def test_two_sides(run, fake, answers):
    differences = [
        {"measure": "error_rate", "a": 0.025, "b": 0.05, "change": 1.0, "p_value": 0.03},
        {"measure": "ttft_ms", "a": 250.4, "b": 290.0, "change": 0.158, "p_value": 0.2},
        {"measure": "tpot_ms", "a": 4.94, "b": 6.15, "change": 0.245, "p_value": 0.00002},
        {"measure": "cost_usd", "a": 0.00031, "b": 0.00021, "change": -0.32},
        {"measure": "cache_hit_rate"},
    ]
    fake.answers.append(answers[1](200, {"a": MEASURES, "b": MEASURES, "differences": differences}))
    done = run("traces", "compare", "arm=baseline,model=a", "arm=candidate", "--where", "model=b")
    assert (fake.seen[-1].path, fake.seen[-1].query) == (
        "/v1/analytics/compare", {"a_arm": "baseline", "a_model": "a", "b_arm": "candidate", "model": "b"},
    )  # fmt: skip
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    assert lines["error_rate"] == ["error_rate", "2.50%", "5.00%", "+100.0%", "0.030", "*"]
    assert lines["ttft_ms"] == ["ttft_ms", "250", "ms", "290", "ms", "+15.8%", "0.200"]
    assert lines["tpot_ms"] == ["tpot_ms", "4.9", "ms", "6.2", "ms", "+24.5%", "<", "0.001", "*"]
    assert lines["cost_usd"] == ["cost_usd", "$0.00031", "$0.00021", "-32.0%"]
    assert lines["cache_hit_rate"] == ["cache_hit_rate"] and lines["requests"] == ["requests", "40", "40"]
    assert "for A: 'baseline' is not name=value" in run("traces", "compare", "baseline", "arm=candidate", code=2).output


def test_conversations(run, fake, answers):
    one = {"session": "talk-1", "traces": 3, "end_time": "2026-11-30T09:00:00Z", "question": "Hello?", "feedback": 0.5}
    fake.answers.append(answers[1](200, {"object": "list", "data": [one]}))
    line = run("traces", "sessions", "--where", "user=ada").stdout.splitlines()[1]
    assert (fake.seen[-1].path, fake.seen[-1].query) == ("/v1/sessions", {"limit": "20", "user": "ada"})
    assert line.split() == ["talk-1", "2026-11-30T09:00:00", "3", "0", "0", "0", "$0", "+0.50", "Hello?"]
    fake.answers.append(answers[1](200, {"object": "list", "data": []}))
    assert "no conversations yet" in run("traces", "sessions").stdout
