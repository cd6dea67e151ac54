"""`headrace drift`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app


@pytest.fixture
def run(fake):
    """Run a command against the fake; returns the result, whose exit code must be as told."""

    def call(*arguments: str, code: int = 0):
        result = CliRunner().invoke(app, ["--url", fake.url, "--api-key", "hr_team", *arguments])
        assert result.exit_code == code, result.output + repr(result.exception)
        return result

    return call


def test_drift_is_a_table_json_and_an_exit_code(run, fake):
    lines = [line.split() for line in run("drift", "--model", "assistant", "--drifted").stdout.splitlines()]
    assert lines[1] == ["assistant", "all", "language", "drifted", "1.25", "3e-09", "120", "900"]
    assert lines[2][:5] == ["assistant", "handbook", "input_chars", "too", "few"]
    assert fake.seen[-1].query == {"model": "assistant", "drifted": "true"}
    shown = run("drift", "--shares").stdout.splitlines()
    assert any(line.split() == ["de", "50.0%", "1.1%"] for line in shown)
    assert any(line.split() == ["32", "to", "64", "100.0%", "100.0%"] for line in shown)
    made = json.loads(run("drift", "--json").stdout)
    assert (made["from"], made["data"][1]["bins"][0]["from"]) == ("2026-11-28", 32.0)
    run("drift", "--fail", code=1)
    run("drift", "--reference-from", "2026-11-01", "--reference-to", "2026-11-07", "--day", "2026-11-08")
    assert fake.seen[-1].query == {
        "reference_from": "2026-11-01",
        "reference_to": "2026-11-07",
        "day": "2026-11-08",
    }


def test_half_a_reference_is_refused(run):
    assert "both ends" in run("drift", "--reference-from", "2026-11-01", code=2).stderr
